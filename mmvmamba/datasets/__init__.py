"""Data sets: databases in LMDB, COCO's annotations, masks, what is checked of them, and toy data.

Importing this package makes paths that begin with ``lmdb://`` readable by mmengine. The writer is
in `lmdb.writer`; dataset classes are imported by `registered` when a config asks for one.
"""

from .errors import LMDBDataError
from .lmdb.backend import LMDBFileBackend
from .lmdb.reader import LMDBReader, close_environments

__all__ = [
    'LMDBDataError',
    'LMDBFileBackend',
    'LMDBReader',
    'close_environments',
]

"""LMDB databases as a file system of mmengine: any OpenMMLab dataset and transform reads from them.

A path ``lmdb://data/coco.lmdb/train2017/000000000009.jpg`` names the record
``train2017/000000000009.jpg`` of the database ``data/coco.lmdb``; an absolute path has three
slashes. It can stand wherever a config takes a path, without ``backend_args``, so that
``data_root = 'lmdb://data/coco.lmdb'`` is all that changes for a tree stored with its annotations.
``lmdb://data/coco-*-of-00004.lmdb`` names shards, which are read as one database.
"""

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend

from mmvmamba.datasets.errors import KeyMissingError, LMDBDataError

from .format import CREATE_COMMAND
from .reader import LMDBReader, find_database
from .shards import JoinedReader, find_databases, open_reader

__all__ = ['LMDB_PREFIX', 'LMDBFileBackend', 'split_uri']

LMDB_PREFIX = 'lmdb://'

# One reader for each database, whatever the transforms and datasets that ask.
_readers: dict[str, LMDBReader | JoinedReader] = {}


def split_uri(uri: str | os.PathLike) -> tuple[LMDBReader | JoinedReader, str]:
    """The reader and the key that a path ``lmdb://<database>/<key>`` names."""
    path = os.fspath(uri).removeprefix(LMDB_PREFIX)
    # Every image of an epoch comes this way: a known database is found at once by its usual name.
    stem, is_usual, key = path.partition('.lmdb/')
    if is_usual and (reader := _readers.get(f'{stem}.lmdb')) is not None:
        return reader, key.rstrip('/')
    # From the end, for a key has fewer parts than an absolute path.
    folder = path.rstrip('/')
    while folder and folder not in _readers:
        folder = folder.rpartition('/')[0].rstrip('/')
    if not folder:
        folder = path.rstrip('/')
        while folder and find_database(folder) is None and not find_databases(folder):
            folder = folder.rpartition('/')[0].rstrip('/')
        if folder:
            _readers[folder] = open_reader(folder)
    if folder:
        # A key may begin with a slash of its own.
        return _readers[folder], path[len(folder) + 1 :].rstrip('/')
    raise LMDBDataError(
        'no folder of this path is an LMDB database',
        path=path,
        remedy=f'Build it with `{CREATE_COMMAND}`, or correct the path in the config.',
    )


@register_backend('mmvmamba_lmdb', prefixes='lmdb')
class LMDBFileBackend(BaseStorageBackend):
    """Reads files from LMDB databases, by ``lmdb://`` paths or below a folder they stand for.

    Nothing is written through it.

    Args:
        db_path: The database, for paths without the prefix ``lmdb://``.
        root: The folder that the database stands for; it is taken off the front of such paths.
    """

    def __init__(self, db_path: str | None = None, root: str = '') -> None:
        self.db_path = db_path
        self.root = root

    def get(self, filepath: str | Path) -> bytes:
        """The bytes of a file."""
        reader, key = self._locate(filepath)
        return reader.get(key)

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """The text of a file."""
        return self.get(filepath).decode(encoding)

    def exists(self, filepath: str | Path) -> bool:
        """Whether there is such a file or folder."""
        return self.isfile(filepath) or self.isdir(filepath)

    def isfile(self, filepath: str | Path) -> bool:
        """Whether there is such a file."""
        reader, key = self._locate(filepath)
        return bool(key) and key in reader

    def isdir(self, filepath: str | Path) -> bool:
        """Whether there are files below the path."""
        reader, key = self._locate(filepath)
        return not key or next(reader.stored_keys(f'{key}/'), None) is not None

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Joins parts of a path."""
        return os.path.join(str(filepath), *map(str, filepaths))

    @contextmanager
    def get_local_path(self, filepath: str | Path) -> Generator[str, None, None]:
        """A temporary copy of a file, for libraries that open paths themselves."""
        data = self.get(filepath)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, os.path.basename(str(filepath)))
            Path(path).write_bytes(data)
            yield path

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Names below a folder, relative to it.

        Args:
            dir_path: The folder.
            list_dir: Whether to yield folders.
            list_file: Whether to yield files.
            suffix: How the names of files must end.
            recursive: Whether to go into folders.
        """
        if list_dir and suffix is not None:
            raise TypeError(f'suffix must be None where list_dir is True, got {suffix!r}')
        reader, key = self._locate(dir_path)
        prefix = f'{key}/' if key else ''
        folders = set()
        names = [name.removeprefix(prefix) for name in reader.stored_keys(prefix)]
        if not names:
            raise KeyMissingError('no file below this folder', path=reader.path, key=prefix)
        for name in names:
            parts = name.split('/')
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                folder = '/'.join(parts[:depth])
                if list_dir and folder not in folders:
                    folders.add(folder)
                    yield folder
            is_listed = list_file and (recursive or len(parts) == 1)
            if is_listed and (suffix is None or name.endswith(suffix)):
                yield name

    def _locate(self, filepath: str | Path) -> tuple[LMDBReader | JoinedReader, str]:
        path = str(filepath)
        if path.startswith(LMDB_PREFIX):
            return split_uri(path)
        if self.db_path is None:
            raise ValueError(
                f"a path must begin with '{LMDB_PREFIX}' without db_path, got {path!r}"
            )
        reader = _readers.setdefault(self.db_path, open_reader(self.db_path))
        root = self.root.rstrip('/')
        if root and not path.startswith(f'{root}/') and path.rstrip('/') != root:
            raise KeyMissingError(
                f'the database stands for the folder {root!r}, which has no such file',
                path=self.db_path,
                key=path,
                remedy='Give backend_args to the transforms that read images only.',
            )
        return reader, path.removeprefix(root).strip('/')

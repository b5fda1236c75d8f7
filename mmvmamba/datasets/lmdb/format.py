"""The record layout of mmvmamba's LMDB databases, version 1.

A database is a folder ``<name>.lmdb`` with one file, ``data.mdb``, and uses LMDB's unnamed
database:

=============================  ==================================================================
key                            value
=============================  ==================================================================
``<relative path>``            one image: the bytes of the file as it was (UTF-8 key, at most 511
                               bytes, parts joined by ``/``)
``__mmvmamba__/header``        JSON: see `Header`
``__mmvmamba__/classes``       JSON: list of class names in label order; absent without names
``__mmvmamba__/keys``          all image keys in sample order, one after the other
``__mmvmamba__/key_ends``      ``<u8`` x N: where each key ends in ``keys``
``__mmvmamba__/labels``        ``<i4`` x N: class indices; absent without labels
``__mmvmamba__/sizes``         ``<u8`` x N: bytes of each record
``__mmvmamba__/sha256``        32 bytes x N: SHA-256 of each record
``__mmvmamba__/resized``       ``<u8`` x M: samples that were re-encoded because of a size limit
``__mmvmamba__/skipped``       JSON: list of ``[key, reason]`` of the unreadable source images
=============================  ==================================================================

The tables are single values, so that a reader looks one sample up inside the memory map and never
holds them itself. While a database is being built, ``__mmvmamba__/state`` (JSON: fingerprint of
the listing and number of images done) and ``__mmvmamba__/batch/*`` keep what a later run needs to
go on. The header is written last: a database that has a state and no header is half-built.
"""

import json
from dataclasses import asdict, dataclass, fields

import numpy as np

from mmvmamba.datasets.errors import DatabaseInvalidError, DatabaseVersionError, KeyInvalidError

__all__ = [
    'FORMAT_NAME',
    'FORMAT_VERSION',
    'KEY_LIMIT',
    'RESERVED',
    'Header',
    'decode_key',
    'encode_key',
    'meta_key',
]

FORMAT_NAME = 'mmvmamba-lmdb'
FORMAT_VERSION = 1
RESERVED = '__mmvmamba__/'
KEY_LIMIT = 511  # bytes; LMDB's compiled-in maximum

END_DTYPE = np.dtype('<u8')
LABEL_DTYPE = np.dtype('<i4')
SIZE_DTYPE = np.dtype('<u8')
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Header:
    """What a database says about itself.

    Args:
        layout: What the source was: ``folder``, ``list``, ``tar`` or ``tree``.
        num_records: Number of images.
        num_classes: Number of classes; 0 without labels.
        num_bytes: Sum of the record sizes.
        manifest: SHA-256 over all the tables, in the order of the layout table.
        max_size: Longest allowed short edge; 0 where every record is the original file.
        num_resized: Records that were re-encoded for ``max_size``.
        num_skipped: Source images left out because they could not be read.
        creator: Package and version that wrote it.
        format: Name of the layout.
        version: Version of the layout.
    """

    layout: str
    num_records: int
    num_classes: int
    num_bytes: int
    manifest: str
    max_size: int
    num_resized: int
    num_skipped: int
    creator: str
    format: str = FORMAT_NAME
    version: int = FORMAT_VERSION

    def dumps(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def loads(cls, data: bytes, path: str) -> 'Header':
        """Reads a header; ``path`` is named in the errors."""
        remedy = 'Build it again with tools/dataset_converters/create_lmdb_dataset.py.'
        try:
            values = json.loads(data)
        except ValueError as error:
            raise DatabaseInvalidError(
                f'the header is not JSON ({error})', path, meta_key('header').decode(), remedy
            ) from error
        if values.get('format') != FORMAT_NAME:
            raise DatabaseInvalidError(
                f'the format must be {FORMAT_NAME!r}, got {values.get("format")!r}',
                path,
                '',
                remedy,
            )
        if values.get('version') != FORMAT_VERSION:
            raise DatabaseVersionError(
                f'the layout must be of version {FORMAT_VERSION}, got {values.get("version")!r}',
                path,
                '',
                'Upgrade mmvmamba, or build the database again with this version.',
            )
        names = {field.name for field in fields(cls)}
        if names != set(values):
            raise DatabaseInvalidError(
                f'the header must have {sorted(names)}, got {sorted(values)}', path, '', remedy
            )
        return cls(**values)


def meta_key(name: str) -> bytes:
    return (RESERVED + name).encode()


def encode_key(key: str, path: str = '') -> bytes:
    """The bytes of an image key.

    Raises:
        KeyInvalidError: If it is too long, not relative, or reserved.
    """
    # File names that are not UTF-8 come from the file system as surrogates and go back as such.
    data = key.encode('utf-8', 'surrogateescape')
    if len(data) > KEY_LIMIT:
        raise KeyInvalidError(
            f'a key may have {KEY_LIMIT} bytes, got {len(data)}',
            path,
            key,
            'Shorten the folder or file names, or start from a folder further down.',
        )
    parts = key.split('/')
    if key.startswith(RESERVED) or any(part in ('', '.', '..') for part in parts):
        raise KeyInvalidError(
            f'a key must be a relative path without "." and "..", outside {RESERVED!r}', path, key
        )
    return data


def decode_key(data: bytes) -> str:
    return bytes(data).decode('utf-8', 'surrogateescape')

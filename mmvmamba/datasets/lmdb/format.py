"""The record layout of mmvmamba's LMDB databases, version 2.

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
``__mmvmamba__/checksums``     ``<u8`` x N, ascending: `checksum` of each record with its key
``__mmvmamba__/shard``         JSON: see `Shard`; absent from a database that has a whole listing
=============================  ==================================================================

The tables are single values, so that a reader looks one sample up inside the memory map and never
holds them itself. While a database is being built, ``__mmvmamba__/state`` (JSON: fingerprint of
the listing and number of images done) and ``__mmvmamba__/batch/*`` keep what a later run needs to
go on. The header is written last: a database that has a state and no header is half-built.

Version 1 had no checksums, and its manifest left the header out. Its databases are read as before.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TypeVar

import numpy as np

from mmvmamba.datasets.errors import LMDBDataError

__all__ = [
    'BUILD_AGAIN',
    'CREATE_COMMAND',
    'DIGEST_BYTES',
    'FORMAT_NAME',
    'FORMAT_VERSION',
    'KEY_LIMIT',
    'LABEL_DIGITS',
    'RESERVED',
    'TABLES',
    'Header',
    'Shard',
    'check_tables',
    'checksum',
    'decode_key',
    'encode_key',
    'manifest',
    'meta_key',
    'parse_json',
]

Json = TypeVar('Json', dict, list)

FORMAT_NAME = 'mmvmamba-lmdb'
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
RESERVED = '__mmvmamba__/'
KEY_LIMIT = 511  # bytes; LMDB's compiled-in maximum
LABEL_DIGITS = 7  # of a label in a list: there are names to be made for as many classes
# In the order in which the manifest covers them.
TABLES = (
    'classes', 'keys', 'key_ends', 'labels', 'sizes', 'sha256', 'resized', 'skipped', 'checksums',
    'shard',
)  # fmt: skip

END_DTYPE = np.dtype('<u8')
LABEL_DTYPE = np.dtype('<i4')
SIZE_DTYPE = np.dtype('<u8')
CHECKSUM_DTYPE = np.dtype('<u8')
DIGEST_BYTES = 32

CREATE_COMMAND = 'mmvmamba data lmdb create'
BUILD_AGAIN = f'Build it again with `{CREATE_COMMAND}`.'


@dataclass(frozen=True)
class Header:
    """What a database says about itself.

    Args:
        layout: What the source was: ``folder``, ``list``, ``tar`` or ``tree``.
        num_records: Number of images.
        num_classes: Number of classes; 0 without labels.
        num_bytes: Sum of the record sizes.
        manifest: SHA-256 over the rest of the header and all the tables, see `manifest`.
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
        values = parse_json(data, 'header', dict, path)
        if values.get('format') != FORMAT_NAME:
            raise LMDBDataError(
                f'the format must be {FORMAT_NAME!r}, got {values.get("format")!r}',
                path=path,
                remedy=BUILD_AGAIN,
            )
        if values.get('version') not in READABLE_VERSIONS:
            raise LMDBDataError(
                f'the layout must be of version {" or ".join(map(str, READABLE_VERSIONS))}, '
                f'got {values.get("version")!r}',
                path=path,
                remedy='Upgrade mmvmamba, or build the database again with this version.',
            )
        kinds = {field.name: field.type for field in fields(cls)}
        found = {name: type(value) for name, value in values.items()}
        if found != kinds:
            wrong = sorted(name for name, _ in found.items() ^ kinds.items())
            raise LMDBDataError(
                f'the header must have {sorted(kinds)}; lacking, of another type or unknown are '
                f'{sorted(set(wrong))}',
                path=path,
                remedy=BUILD_AGAIN,
            )
        return cls(**values)


@dataclass(frozen=True)
class Shard:
    """Which share of a listing a database has.

    Args:
        index: Which one, from 1 on.
        count: Shares in all.
        listing: SHA-256 that identifies the whole listing.
    """

    index: int
    count: int
    listing: str

    def dumps(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def loads(cls, data: bytes, path: str) -> 'Shard':
        """Reads what `dumps` wrote; ``path`` is named in the errors."""
        values = parse_json(data, 'shard', dict, path)
        kinds = {field.name: field.type for field in fields(cls)}
        if {name: type(value) for name, value in values.items()} != kinds:
            raise LMDBDataError(
                f'a shard must have {sorted(kinds)}, got {values}', path=path, remedy=BUILD_AGAIN
            )
        return cls(**values)


def parse_json(data: bytes, name: str, kind: type[Json], path: str) -> Json:
    """Reads a value that is JSON.

    Args:
        data: The value.
        name: Its name, of those that `meta_key` takes.
        kind: ``dict`` or ``list``.
        path: The database, which the errors name.
    """
    try:
        value = json.loads(data)
    # Nesting without end runs into the limit of recursion.
    except (ValueError, RecursionError) as error:
        raise LMDBDataError(
            f'the value is not JSON ({error})',
            path=path,
            key=meta_key(name).decode(),
            remedy=BUILD_AGAIN,
        ) from error
    if not isinstance(value, kind):
        raise LMDBDataError(
            f'the value must be a JSON {kind.__name__}, got a {type(value).__name__}',
            path=path,
            key=meta_key(name).decode(),
            remedy=BUILD_AGAIN,
        )
    return value


def manifest(tables: Mapping[str, bytes | memoryview], header: Header) -> str:
    """SHA-256 over the header, and over the names, lengths and bytes of the tables.

    Args:
        tables: Those of `TABLES` that the database has.
        header: The header; its own ``manifest`` does not count.
    """
    parts = [(name, tables[name]) for name in TABLES if name in tables]
    if header.version > 1:
        parts.insert(0, ('header', replace(header, manifest='').dumps()))
    digest = hashlib.sha256()
    for name, data in parts:
        digest.update(f'{name}:{len(data)}:'.encode())
        digest.update(data)
    return digest.hexdigest()


def check_tables(tables: Mapping[str, bytes | memoryview], header: Header, path: str) -> None:
    """Makes sure that the tables are those of the header and fit together.

    Args:
        tables: Those of `TABLES` that the database has; views into the map will do.
        header: Its header.
        path: The database, which the errors name.
    """

    def demand(holds: bool, problem: str) -> None:
        if not holds:
            raise LMDBDataError(f'the index is broken: {problem}', path=path, remedy=BUILD_AGAIN)

    demand(
        manifest(tables, header) == header.manifest,
        'header and tables are not those that the manifest was made of',
    )
    widths = dict(key_ends=8, sizes=8, sha256=DIGEST_BYTES)
    if header.version > 1:
        widths['checksums'] = CHECKSUM_DTYPE.itemsize
    if header.num_classes or 'labels' in tables:
        widths['labels'] = LABEL_DTYPE.itemsize
    demand(header.num_records > 0, f'there must be records, got {header.num_records}')
    for name, width in widths.items():
        size = len(tables.get(name, b''))
        expected = width * header.num_records
        demand(size == expected, f'{name} must have {expected} bytes, got {size}')
    demand('keys' in tables, 'keys are missing')
    ends = np.frombuffer(tables['key_ends'], END_DTYPE)
    demand(
        ends[-1] == len(tables['keys']) and bool((ends[:-1] < ends[1:]).all()),
        'the keys do not end where they should',
    )
    if 'labels' in tables:
        labels = np.frombuffer(tables['labels'], LABEL_DTYPE)
        demand(
            labels.min() >= 0 and labels.max() < header.num_classes,
            f'labels must be 0 to {header.num_classes - 1}, got {labels.min()} to {labels.max()}',
        )


def checksum(key: bytes, data: bytes | memoryview) -> int:
    """What tells a damaged record, or one that got under another key: two CRC-32 in 64 bits."""
    return zlib.crc32(key) << 32 | zlib.crc32(data)


def meta_key(name: str) -> bytes:
    return (RESERVED + name).encode()


def encode_key(key: str, path: str = '') -> bytes:
    """The bytes of an image key.

    Raises:
        LMDBDataError: If it is too long, not relative, reserved, or breaks lines.
    """
    # File names that are not UTF-8 come from the file system as surrogates and go back as such.
    data = key.encode('utf-8', 'surrogateescape')
    if len(data) > KEY_LIMIT:
        raise LMDBDataError(
            f'a key may have {KEY_LIMIT} bytes, got {len(data)}',
            path=path,
            key=key,
            remedy='Shorten the folder or file names, or start from a folder further down.',
        )
    parts = key.split('/')
    if key.startswith(RESERVED) or any(part in ('', '.', '..') for part in parts):
        raise LMDBDataError(
            f'a key must be a relative path without "." and "..", outside {RESERVED!r}',
            path=path,
            key=key,
        )
    # They would break the lists that name keys line by line; no file name can have a NUL.
    if any(character in key for character in '\0\n\r'):
        raise LMDBDataError(
            'a key must be without line breaks and NUL',
            path=path,
            key=repr(key),
            remedy='Rename the file.',
        )
    return data


def decode_key(data: bytes) -> str:
    return bytes(data).decode('utf-8', 'surrogateescape')

"""Reads LMDB databases: lazily, once per process, safely across forks, with errors that help."""

import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import lmdb
import numpy as np

from mmvmamba.datasets.errors import CorruptRecordError, KeyMissingError, LMDBDataError

from .format import (
    BUILD_AGAIN,
    CREATE_COMMAND,
    DIGEST_BYTES,
    END_DTYPE,
    KEY_LIMIT,
    LABEL_DTYPE,
    RESERVED,
    SIZE_DTYPE,
    TABLES,
    Header,
    Shard,
    check_tables,
    checksum,
    decode_key,
    meta_key,
    parse_json,
)
from .pages import check_pages

__all__ = ['LMDBReader', 'close_environments', 'find_database']

HEADER, STATE = meta_key('header'), meta_key('state')
# PlainMamba's converter stores the number of images under this key, beside the images.
FOREIGN_TOTAL = b'total'
KEYS_AT_ONCE = 1000

# Device and number of a file.
Identity = tuple[int, int]


@dataclass(frozen=True)
class _Database:
    """An open database. Its views into the map end with it, hence are used inside the gate alone.

    Args:
        env: Its environment.
        txn: A transaction that lasts as long: nothing writes to the file.
        header: What it says about itself; None if it is not of our layout.
        stamp: Which file it is: identity, size, time of the last change.
        tables: The tables that were asked for. LMDB touches all pages of a value when it is got,
            which for those of a million images would cost more than reading one of them.
    """

    env: lmdb.Environment
    txn: lmdb.Transaction
    header: Header | None
    stamp: tuple[int, int, int, int]
    tables: dict[str, memoryview | None] = field(default_factory=dict)

    def table(self, name: str) -> memoryview | None:
        """A view of a table, or None if there is none."""
        if name not in self.tables:
            value = self.txn.get(meta_key(name))
            self.tables[name] = None if value is None else memoryview(value)
        return self.tables[name]

    def needed(self, name: str) -> memoryview:
        """A view of a table that every database of our layout has."""
        table = self.table(name)
        if table is None:
            raise LMDBDataError(
                f'the index is broken: {name} are missing', path=self.env.path(), remedy=BUILD_AGAIN
            )
        return table


# LMDB forbids opening one file twice in a process, so all readers share what is open.
_open: dict[Identity, _Database] = {}
# Files found sound, here or in the process that this one was started by: the check of a large
# database takes seconds and is done once, not by each worker.
_sound: set[tuple[int, int, int, int]] = set()
# Held during each use of an environment, and while the process forks. LMDB counts the threads that
# are inside of it, and a child that got the count of a thread it does not have would wait for it.
_gate = threading.RLock()


def _close_all() -> None:
    for database in _open.values():
        database.env.close()
    _open.clear()


def _begin_in_child() -> None:
    try:
        # LMDB must not be used across a fork. The child opens for itself.
        _close_all()
    finally:
        _gate.release()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=_gate.acquire, after_in_parent=_gate.release, after_in_child=_begin_in_child
    )


def find_database(path: str) -> str | None:
    """The data file of a database given as a folder or as the file itself, or None."""
    file = os.path.join(path, 'data.mdb')
    if os.path.isfile(file):
        return file
    if os.path.isfile(path) and path.endswith(('.lmdb', '.mdb')):
        return path
    return None


def close_environments() -> None:
    """Closes what readers of this process have opened; they open it again when they are used."""
    with _gate:
        _close_all()


class LMDBReader:
    """Read access to one database.

    Nothing is opened before the first use, and every process opens for itself: a reader can be
    pickled, copied, carried through a fork, and used by several threads. At the first opening, the
    pages of the file and the tables of the index are checked; each record is when it is read.
    Databases of other layouts, which have no checksums, can be read by key.

    Args:
        path: Folder of the database.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self._identity: Identity | None = None

    def __getstate__(self) -> dict:
        database = self._identity and _open.get(self._identity)
        return {'path': self.path, 'stamp': database and database.stamp}

    def __setstate__(self, state: dict) -> None:
        self.path, self._identity = state['path'], None
        if state['stamp'] is not None:
            _sound.add(state['stamp'])

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.path!r})'

    def __len__(self) -> int:
        """Number of images."""
        with self._use() as database:
            if database.header is not None:
                return database.header.num_records
            has_total = database.txn.get(FOREIGN_TOTAL) is not None
            return database.txn.stat()['entries'] - has_total

    @property
    def header(self) -> Header | None:
        """What the database says about itself; None if it is not of our layout."""
        with self._use() as database:
            return database.header

    @property
    def classes(self) -> list[str] | None:
        """Class names in label order, if the database has them."""
        value = self._bytes('classes')
        return None if value is None else parse_json(value, 'classes', list, self.path)

    @property
    def shard(self) -> Shard | None:
        """Which share of a larger listing the database has; None if it has a whole one."""
        value = self._bytes('shard')
        return None if value is None else Shard.loads(value, self.path)

    @property
    def skipped(self) -> list[list[str]]:
        """Key and reason of each source image that the build could not read."""
        value = self._bytes('skipped')
        return [] if value is None else parse_json(value, 'skipped', list, self.path)

    def get(self, key: str, check: bool = True) -> bytes:
        """The bytes of an image.

        Args:
            key: Its relative path.
            check: Whether to compare them with the checksum that the database has of them.

        Raises:
            KeyMissingError: If there is no such image.
            CorruptRecordError: If the bytes are not those that were stored.
        """
        encoded = _encoded(key)
        with self._use() as database:
            value = database.txn.get(encoded) if encoded else None
            if encoded is not None and value is not None:
                if not check or _is_whole(database, encoded, value):
                    return bytes(value)
                raise CorruptRecordError(
                    'the record is not what was stored under this key',
                    path=self.path,
                    key=key,
                    remedy='Check with `create_lmdb_dataset.py verify`, and copy the database '
                    'again or build it again.',
                )
        raise KeyMissingError(
            f'no such image among {len(self)}',
            path=self.path,
            key=key,
            remedy='Compare with `create_lmdb_dataset.py info`, or build the database again.',
        )

    def __contains__(self, key: str) -> bool:
        encoded = _encoded(key)
        with self._use() as database:
            return encoded is not None and database.txn.get(encoded) is not None

    def sample(self, index: int) -> tuple[str, int | None]:
        """Key and label of a sample; the label is None in a database without labels."""
        count = self._own_header().num_records
        if not 0 <= index < count:
            raise IndexError(f'index must be in [0, {count}), got {index}')
        with self._use() as database:
            ends, labels = database.needed('key_ends'), database.table('labels')
            start = struct.unpack_from('<Q', ends, 8 * (index - 1))[0] if index else 0
            end = struct.unpack_from('<Q', ends, 8 * index)[0]
            key = decode_key(database.needed('keys')[start:end])
            return key, None if labels is None else struct.unpack_from('<i', labels, 4 * index)[0]

    def part(self, index: int) -> tuple['LMDBReader', int]:
        """The database that has a sample, which is this one, and the sample's place in it."""
        return self, index

    def holder(self, key: str) -> 'LMDBReader':
        """The database that has a key, or would have it: this one."""
        return self

    def sample_keys(self) -> Iterator[str]:
        """All keys in sample order; in LMDB's order if the database is not of our layout."""
        if self.header is None:
            yield from self.stored_keys()
            return
        text, ends = self._needed('keys'), self._array('key_ends', END_DTYPE)
        start = 0
        for end in ends.tolist():
            yield decode_key(text[start:end])
            start = end

    def stored_keys(self, prefix: str = '') -> Iterator[str]:
        """The keys of the image records themselves that begin with a text, in LMDB's order."""
        start = prefix.encode('utf-8', 'surrogateescape')
        keys = self._keys_from(start, skipped=0)
        while keys:
            for key in keys:
                if not key.startswith(start):
                    return
                if not key.startswith(RESERVED.encode()) and key != FOREIGN_TOTAL:
                    yield decode_key(key)
            keys = self._keys_from(keys[-1], skipped=1)

    def labels(self) -> np.ndarray | None:
        """Class indices in sample order, if the database has them."""
        value = self._bytes('labels')
        return None if value is None else np.frombuffer(value, LABEL_DTYPE)

    def sizes(self) -> np.ndarray:
        """Bytes of each record in sample order."""
        return self._array('sizes', SIZE_DTYPE)

    def digests(self) -> np.ndarray:
        """SHA-256 of each record in sample order, as (N, 32) bytes."""
        return self._array('sha256', np.dtype('u1')).reshape(-1, DIGEST_BYTES)

    def resized(self) -> np.ndarray:
        """Indices of the samples that were re-encoded when the database was built."""
        return self._array('resized', END_DTYPE)

    def _bytes(self, name: str) -> bytes | None:
        with self._use() as database:
            value = database.table(name)
            return None if value is None else bytes(value)

    def _needed(self, name: str) -> bytes:
        with self._use() as database:
            return bytes(database.needed(name))

    def _array(self, name: str, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(self._needed(name), dtype)

    def _own_header(self) -> Header:
        header = self.header
        if header is None:
            raise LMDBDataError(
                'the database is not of the layout of mmvmamba',
                path=self.path,
                remedy="If PlainMamba's converter made it, name its list of labels (ann_file).",
            )
        return header

    def _keys_from(self, start: bytes, skipped: int) -> list[bytes]:
        """Some keys from the first on that is not lower than ``start``."""
        # No cursor stays open between two steps of a caller's loop.
        with self._use() as database, database.txn.cursor() as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return []
            keys = cursor.iternext(keys=True, values=False)
            return [bytes(key) for key in islice(keys, skipped, skipped + KEYS_AT_ONCE)]

    def _use(self) -> '_Use':
        return _Use(self)

    def _database(self) -> _Database:
        """The database, open; to be asked for with the gate held."""
        database = _open.get(self._identity) if self._identity else None
        if database is None:
            self._identity, database = _open_database(self.path)
        return database


class _Use:
    """Holds the gate for the length of a ``with`` block, and gives the database.

    A class, for the generator of a ``contextmanager`` would cost as much as reading a small record.

    Args:
        reader: Whose database it is.
    """

    def __init__(self, reader: LMDBReader) -> None:
        self.reader = reader

    def __enter__(self) -> _Database:
        _gate.acquire()
        try:
            return self.reader._database()
        except BaseException:
            _gate.release()
            raise

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        _gate.release()
        if isinstance(error, lmdb.Error):
            raise LMDBDataError(
                f'LMDB cannot read the database ({error})',
                path=self.reader.path,
                remedy=BUILD_AGAIN,
            ) from error


def _is_whole(database: _Database, key: bytes, data: bytes | memoryview) -> bool:
    """Whether a record is one that was stored, as far as the database can tell."""
    if database.header is None or database.header.version == 1:
        return True
    wanted = checksum(key, data)
    # LMDB's files have the byte order of the machine, as this has.
    table = database.needed('checksums').cast('Q')
    place = bisect_left(table, wanted)
    return place < len(table) and table[place] == wanted


def _encoded(key: str) -> bytes | None:
    """The bytes of a key, or None for one that no database can have."""
    try:
        encoded = key.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError:
        return None
    return encoded if 0 < len(encoded) <= KEY_LIMIT else None


def _open_database(path: str) -> tuple[Identity, _Database]:
    file = find_database(path)
    if file is None:
        remedy = f'Build it with `{CREATE_COMMAND}`, or correct the path in the config.'
        if os.path.isdir(f'{path}.partial'):
            remedy = (
                f'Its build was interrupted: run the same `{CREATE_COMMAND}` again to finish it.'
            )
        raise LMDBDataError('there is no LMDB database', path=path, remedy=remedy)
    try:
        status = os.stat(file)
        identity = (status.st_dev, status.st_ino)
        if identity in _open:
            return identity, _open[identity]
        stamp = (*identity, status.st_size, status.st_mtime_ns)
        if stamp not in _sound:
            check_pages(file)
        env = lmdb.open(
            path, subdir=file != path, readonly=True, create=False, lock=False, readahead=False
        )
    except (lmdb.Error, OSError) as error:
        raise LMDBDataError(
            f'the file cannot be opened ({error})',
            path=path,
            remedy=f'Look after its permissions, copy it again, or build it: `{CREATE_COMMAND}`.',
        ) from error
    try:
        txn = env.begin(buffers=True)
        header = _read_header(txn, path, stamp in _sound)
    except BaseException:
        env.close()
        raise
    _sound.add(stamp)
    _open[identity] = database = _Database(env, txn, header, stamp)
    return identity, database


def _read_header(txn: lmdb.Transaction, path: str, is_sound: bool) -> Header | None:
    """The header, after the tables were checked against it; None for another layout."""
    if txn.stat()['entries'] == 0:
        raise LMDBDataError('the database is empty', path=path, remedy=BUILD_AGAIN)
    data = txn.get(HEADER)
    if data is None:
        if txn.get(STATE) is not None:
            raise LMDBDataError(
                'the database is half-built',
                path=path,
                remedy=f'Run the same `{CREATE_COMMAND}` again: it goes on where it stopped.',
            )
        with txn.cursor() as cursor:
            if cursor.set_range(RESERVED.encode()) and _is_reserved(cursor.key()):
                raise LMDBDataError('the header is missing', path=path, remedy=BUILD_AGAIN)
        return None
    header = Header.loads(bytes(data), path)
    if not is_sound:
        found = ((name, txn.get(meta_key(name))) for name in TABLES)
        tables = {name: value for name, value in found if value is not None}
        check_tables(tables, header, path)
    return header


def _is_reserved(key: bytes | memoryview) -> bool:
    return bytes(key[: len(RESERVED)]) == RESERVED.encode()

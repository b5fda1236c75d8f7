"""Reads LMDB databases: lazily, once per process, without locks, with errors that help."""

import json
import os
import struct
import threading
from collections.abc import Iterator

import lmdb
import numpy as np

from mmvmamba.datasets.errors import (
    DatabaseIncompleteError,
    DatabaseInvalidError,
    DatabaseNotFoundError,
    KeyMissingError,
)

from .format import (
    DIGEST_BYTES,
    END_DTYPE,
    LABEL_DTYPE,
    RESERVED,
    SIZE_DTYPE,
    Header,
    decode_key,
    meta_key,
)

__all__ = ['LMDBReader', 'close_environments', 'find_database']

CREATE_COMMAND = 'python tools/dataset_converters/create_lmdb_dataset.py create'
HEADER, STATE = meta_key('header'), meta_key('state')
KEYS, KEY_ENDS, LABELS = meta_key('keys'), meta_key('key_ends'), meta_key('labels')
# PlainMamba's converter stores the number of images under this key, beside the images.
FOREIGN_TOTAL = b'total'

# LMDB forbids opening one file twice in a process, so all readers share the environments: by the
# identity of the file, with the process that opened it.
_open: dict[tuple[int, int], tuple[lmdb.Environment, int]] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, 'register_at_fork'):
    # A lock that another thread held while forking would never be free in the child.
    os.register_at_fork(after_in_child=_renew_lock)


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
    with _lock:
        for env, _ in _open.values():
            env.close()
        _open.clear()


class LMDBReader:
    """Read access to one database.

    Nothing is opened before the first use, and every process opens for itself: a reader can be
    pickled, copied and carried through a fork. Databases of other layouts can be read by key.

    Args:
        path: Folder of the database.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self._identity: tuple[int, int] | None = None
        self._header: Header | None = None
        self._is_checked = False

    def __getstate__(self) -> dict:
        return {'path': self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state['path'])

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.path!r})'

    def __len__(self) -> int:
        """Number of images."""
        if self.header is not None:
            return self.header.num_records
        with self._begin() as txn:
            return txn.stat()['entries'] - (txn.get(FOREIGN_TOTAL) is not None)

    @property
    def header(self) -> Header | None:
        """What the database says about itself; None if it is not of our layout."""
        if not self._is_checked:
            self._header = self._read_header()
            self._is_checked = True
        return self._header

    @property
    def classes(self) -> list[str] | None:
        """Class names in label order, if the database has them."""
        return self._json('classes')

    @property
    def skipped(self) -> list[list[str]]:
        """Key and reason of each source image that the build could not read."""
        return self._json('skipped') or []

    def get(self, key: str) -> bytes:
        """The bytes of an image.

        Raises:
            KeyMissingError: If there is no such image.
        """
        value = self._find(key)
        if value is None:
            raise KeyMissingError(
                f'no such image among {len(self)}',
                self.path,
                key,
                'Compare with `create_lmdb_dataset.py info`, or build the database again.',
            )
        return value

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def _find(self, key: str) -> bytes | None:
        try:
            with self._environment().begin() as txn:
                return txn.get(key.encode('utf-8', 'surrogateescape'))
        except lmdb.BadValsizeError:
            # Empty, or longer than any key can be.
            return None

    def sample(self, index: int) -> tuple[str, int | None]:
        """Key and label of a sample; the label is None in a database without labels."""
        self._require_header()
        with self._begin() as txn:
            ends = txn.get(KEY_ENDS)
            start = struct.unpack_from('<Q', ends, 8 * (index - 1))[0] if index else 0
            end = struct.unpack_from('<Q', ends, 8 * index)[0]
            key = decode_key(txn.get(KEYS)[start:end])
            labels = txn.get(LABELS)
            return key, None if labels is None else struct.unpack_from('<i', labels, 4 * index)[0]

    def sample_keys(self) -> Iterator[str]:
        """All keys in sample order; in LMDB's order if the database is not of our layout."""
        if self.header is None:
            yield from self.stored_keys()
            return
        text, ends = self._bytes('keys'), self._array('key_ends', END_DTYPE)
        start = 0
        for end in ends.tolist():
            yield decode_key(text[start:end])
            start = end

    def stored_keys(self) -> Iterator[str]:
        """The keys of the image records themselves, in LMDB's order."""
        with self._begin() as txn, txn.cursor() as cursor:
            for key in cursor.iternext(keys=True, values=False):
                key = bytes(key)
                if not key.startswith(RESERVED.encode()) and key != FOREIGN_TOTAL:
                    yield decode_key(key)

    def labels(self) -> np.ndarray | None:
        """Class indices in sample order, if the database has them."""
        return self._array('labels', LABEL_DTYPE)

    def sizes(self) -> np.ndarray:
        """Bytes of each record in sample order."""
        return self._array('sizes', SIZE_DTYPE)

    def digests(self) -> np.ndarray:
        """SHA-256 of each record in sample order, as (N, 32) bytes."""
        return self._array('sha256', np.dtype('u1')).reshape(-1, DIGEST_BYTES)

    def digest(self, index: int) -> bytes:
        """SHA-256 of one record."""
        with self._begin() as txn:
            table = txn.get(meta_key('sha256'))
            return bytes(table[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES])

    def resized(self) -> np.ndarray:
        """Indices of the samples that were re-encoded when the database was built."""
        return self._array('resized', END_DTYPE)

    def table(self, name: str) -> bytes | None:
        """The raw bytes of one of the layout's tables."""
        self._require_header()
        return self._bytes(name)

    def _bytes(self, name: str) -> bytes | None:
        with self._begin() as txn:
            value = txn.get(meta_key(name))
            return None if value is None else bytes(value)

    def _json(self, name: str) -> list | None:
        value = self._bytes(name)
        return None if value is None else json.loads(value)

    def _array(self, name: str, dtype: np.dtype) -> np.ndarray | None:
        value = self._bytes(name)
        return None if value is None else np.frombuffer(value, dtype)

    def _require_header(self) -> None:
        if self.header is None:
            raise DatabaseInvalidError(
                'the database is not of the layout of mmvmamba',
                self.path,
                '',
                "If PlainMamba's converter made it, name its list of labels (ann_file).",
            )

    def _read_header(self) -> Header | None:
        with self._begin() as txn:
            if txn.stat()['entries'] == 0:
                raise DatabaseInvalidError(
                    'the database is empty', self.path, '', f'Build it with `{CREATE_COMMAND}`.'
                )
            data = txn.get(HEADER)
            if data is None:
                if txn.get(STATE) is not None:
                    raise DatabaseIncompleteError(
                        'the database is half-built',
                        self.path,
                        '',
                        f'Run the same `{CREATE_COMMAND}` again: it goes on where it stopped.',
                    )
                return None
            header = Header.loads(bytes(data), self.path)
            if len(txn.get(KEY_ENDS) or b'') != 8 * header.num_records:
                raise DatabaseInvalidError(
                    f'the index is not of {header.num_records} records',
                    self.path,
                    KEY_ENDS.decode(),
                    f'Build it again with `{CREATE_COMMAND}`.',
                )
            return header

    def _begin(self) -> lmdb.Transaction:
        # Memory views into the map: copied, or let go, before the transaction ends.
        return self._environment().begin(buffers=True)

    def _environment(self) -> lmdb.Environment:
        entry = _open.get(self._identity)
        if entry is None or entry[1] != os.getpid():
            with _lock:
                identity, entry = _open_environment(self.path)
            if identity != self._identity:
                # Another file than before, if any, has the path now.
                self._identity, self._is_checked = identity, False
        return entry[0]


def _open_environment(path: str) -> tuple[tuple[int, int], tuple[lmdb.Environment, int]]:
    file = find_database(path)
    if file is None:
        remedy = f'Build it with `{CREATE_COMMAND}`, or correct the path in the config.'
        if os.path.isdir(f'{path}.partial'):
            remedy = (
                f'Its build was interrupted: run the same `{CREATE_COMMAND}` again to finish it.'
            )
        raise DatabaseNotFoundError('there is no LMDB database', path, '', remedy)
    status = os.stat(file)
    identity = (status.st_dev, status.st_ino)
    entry = _open.pop(identity, None)
    if entry is not None and entry[1] == os.getpid():
        _open[identity] = entry
        return identity, entry
    if entry is not None:
        # Inherited through a fork. Without a lock file there is nothing in it to share, and LMDB
        # opens the file anew only once this copy is closed.
        entry[0].close()
    try:
        env = lmdb.open(
            path,
            subdir=file != path,
            readonly=True,
            create=False,
            lock=False,
            readahead=False,
        )
    except lmdb.Error as error:
        raise DatabaseInvalidError(
            f'LMDB cannot open the file of {status.st_size} bytes ({error})',
            path,
            '',
            f'Copy it again, or build it again with `{CREATE_COMMAND}`.',
        ) from error
    # Touching a page beyond the end of the file would kill the process (SIGBUS).
    expected = (env.info()['last_pgno'] + 1) * env.stat()['psize']
    if status.st_size < expected:
        env.close()
        raise DatabaseIncompleteError(
            f'the file must have at least {expected} bytes, got {status.st_size}: it was cut short',
            path,
            '',
            'Copy it again, or build it again.',
        )
    _open[identity] = entry = (env, os.getpid())
    return identity, entry

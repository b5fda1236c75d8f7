"""Files that are whole or not there at all, and locks that say who holds them."""

import errno
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:
    # Windows: nothing keeps a second process out. A module's name has no type that allows for None.
    fcntl = None  # type: ignore[assignment]

__all__ = ['digest_of', 'hold_lock', 'put_in_place', 'sync_folder']

# File systems without locks, such as Lustre mounted without them, answer with one of these.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def digest_of(path: str | os.PathLike) -> str:
    """The SHA-256 of what is in a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def put_in_place(part: str | os.PathLike, path: str | os.PathLike) -> None:
    """Gives a finished file its name, once its bytes are on the disk.

    A file that was only closed may be empty after a loss of power, though it has its name.

    Args:
        part: The file as it was written, in the same folder.
        path: Its name; a file of that name is replaced.
    """
    with open(part, 'rb+') as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(Path(path).parent)


def sync_folder(folder: str | os.PathLike) -> None:
    """Waits until the names in a folder are on the disk."""
    if os.name != 'posix':
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


@contextmanager
def hold_lock(path: str | os.PathLike, seconds: float = 0) -> Iterator[None]:
    """Holds a lock for the length of a ``with`` block; the file goes when the block ends.

    A killed process leaves the file behind, but not the lock.

    Args:
        path: The lock file. It has the number of the process and the name of its machine.
        seconds: How long to wait for another holder.

    Raises:
        BlockingIOError: If another process holds it; the text names it.
    """
    file = _acquire(path, time.monotonic() + seconds)
    try:
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield
    finally:
        # In this order: who opens the file now makes a new one.
        Path(path).unlink(missing_ok=True)
        file.close()


def _acquire(path: str | os.PathLike, deadline: float) -> IO[str]:
    while True:
        file = open(path, 'a+', encoding='utf-8')  # noqa: SIM115 - the lock lasts while it is open
        if _try_lock(file) and _is_at(file, path):
            return file
        file.seek(0)
        holder = file.read() or 'another process'
        file.close()
        if time.monotonic() > deadline:
            raise BlockingIOError(f'{holder} holds {os.fspath(path)}')
        time.sleep(0.05)


def _try_lock(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _is_at(file: IO[str], path: str | os.PathLike) -> bool:
    """Whether the path still leads to the open file: the former holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False

"""One training to a work dir."""

import errno
import os
import socket
import time
from pathlib import Path
from typing import IO

from .errors import UserError

try:
    import fcntl
except ImportError:
    # Windows. A module's name has no type that allows for None.
    fcntl = None  # type: ignore[assignment]

__all__ = ['lock_work_dir']

LOCK = '.lock'


def lock_work_dir(work_dir: str) -> IO | None:
    """Keeps other trainings out of a work dir for as long as the returned file is open.

    The system lifts the lock of a process that ended, however it ended, so that none is ever left
    behind; on a network file system it holds for all machines if that file system has locks.

    Returns:
        The open file; None where the file system has no locks.

    Raises:
        UserError: If another process holds the lock, with its number and host.
    """
    if fcntl is None:
        return None
    path = Path(work_dir, LOCK)
    lock = path.open('a+')
    try:
        # A lock of this process alone: data loader workers, which may outlive it, do not share it.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or 'another process'
        lock.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return None
        raise UserError(
            f'work dir {work_dir} is in use by {holder}; '
            'wait for its end or name another with --work-dir'
        ) from error
    lock.truncate(0)
    since = time.strftime('%Y-%m-%d %H:%M:%S')
    lock.write(f'process {os.getpid()} on {socket.gethostname()} since {since}\n')
    lock.flush()
    return lock

"""Where compiled kernels may be kept: what lies there is code that this process will run."""

import os
import stat
import tempfile
from pathlib import Path

__all__ = ['private_temporary_folder']


def private_temporary_folder(name: str) -> Path:
    """Makes, or finds again, a folder in the temporary folder that only this user can write to.

    The temporary folder is shared, so that anyone can make a folder of the expected name first and
    put code of theirs into it. Such a folder, one that others may write to, and a link are passed
    over: this process then gets a fresh folder, which no other one will find.

    Args:
        name: First part of the folder's name; the user's number follows.
    """
    if not hasattr(os, 'getuid'):
        # The temporary folder of Windows belongs to the user.
        folder = Path(tempfile.gettempdir(), name)
        folder.mkdir(exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir(), f'{name}-{os.getuid()}')
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not _is_private(folder):
            return Path(tempfile.mkdtemp(prefix=f'{name}-'))
    return folder


def _is_private(folder: Path) -> bool:
    status = folder.lstat()
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and stat.S_IMODE(status.st_mode) & 0o077 == 0
    )

"""A small file system of its own for tests that fill a disk."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ['grow', 'small_disk']


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mounts a disk of so many bytes on a new folder, or skips the test where that is forbidden."""
    if os.name != 'posix' or os.geteuid() != 0:
        pytest.skip('mounting a small disk needs root')
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f'a small disk cannot be mounted here: {mounted.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '--lazy', str(folder)], check=True)


def grow(folder: Path, size: int) -> None:
    """Gives a mounted small disk another size."""
    subprocess.run(['mount', '-o', f'remount,size={size}', str(folder)], check=True)

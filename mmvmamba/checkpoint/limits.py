"""What is checked of a file before it is read, how a user passes over it, and what is said then."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError

__all__ = [
    'Checks',
    'check_name_hash',
    'damaged',
    'first_line',
    'hash_of_name',
    'oversized',
    'unreadable',
]

SKIP_CHECKSUMS = 'MMVMAMBA_SKIP_CHECKSUMS'
ALLOW_HUGE = 'MMVMAMBA_ALLOW_HUGE'

# Weights hardly compress, and tensors hardly overlap: eight times the file is plenty.
_GROWTH = 8
_ALWAYS_ALLOWED = 64 << 20
_CHUNK = 1 << 20
_HASH = re.compile(r'-([0-9a-f]{8,64})(?:\.pth)?\.[a-z]+$')
_DATE = re.compile(r'(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])')


@dataclass(frozen=True)
class Checks:
    """What is checked of a file.

    Attributes:
        checksums: Whether its bytes are compared with the checksums that it has.
        bounds: Whether what it declares is compared with its size.
    """

    checksums: bool
    bounds: bool

    @classmethod
    def wanted(cls, checksums: bool | None = None, bounds: bool | None = None) -> 'Checks':
        """The checks that were asked for; None is what the environment says, by default all."""
        return cls(
            not _is_set(SKIP_CHECKSUMS) if checksums is None else checksums,
            not _is_set(ALLOW_HUGE) if bounds is None else bounds,
        )

    def limit(self, path: Path) -> int | None:
        """The bytes that a file may unpack to or declare."""
        return _ALWAYS_ALLOWED + _GROWTH * path.stat().st_size if self.bounds else None


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, '0') not in ('', '0')


def hash_of_name(path: Path) -> str | None:
    """The digits of a sha256 at the end of a published file's name: ``l1-1a2b3c4d.pth``."""
    match = _HASH.search(path.name)
    # A date has eight digits too.
    return None if match is None or _DATE.fullmatch(match[1]) else match[1]


def check_name_hash(path: Path, name: str | None = None) -> bool:
    """Compares a file with the digits of its sha256 that its name ends in.

    Args:
        path: The file.
        name: Its name, if it does not have that yet.

    Returns:
        Whether the name has such digits.

    Raises:
        CheckpointError: They are those of another content.
    """
    expected = hash_of_name(Path(name or path.name))
    if expected is None:
        return False
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    if not found.startswith(expected):
        raise CheckpointError(
            f'{path} is damaged, or was changed after it got its name: its sha256 starts with '
            f'{found[: len(expected)]}, its name says {expected}. Fetch it again; if you changed '
            f'it, give it another name ({SKIP_CHECKSUMS}=1 passes over this)'
        )
    return True


def damaged(path: Path, reason: str) -> str:
    """What is said of a file whose bytes make no sense."""
    return (
        f'{path} ({path.stat().st_size:,} bytes) is not a readable checkpoint: it is damaged, was '
        f'cut off, or is another kind of file ({first_line(reason)})'
    )


def oversized(path: Path, reason: str) -> str:
    """What is said of a file that declares too much."""
    return (
        f'{path} ({path.stat().st_size:,} bytes) asks for more than a checkpoint of its size '
        f'holds: {reason}. If you mean it, set {ALLOW_HUGE}=1'
    )


def unreadable(path: Path, error: Exception) -> str:
    """What is said of a file that looked whole and was refused all the same."""
    return f'{path} could not be read: {first_line(str(error) or type(error).__name__)}'


def first_line(reason: str) -> str:
    """The first line of a library's message; at most 300 characters."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return lines[0][:300] if lines else 'no reason given'

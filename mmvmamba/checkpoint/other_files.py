"""Recognises files that are no checkpoints by their first bytes, and says what they are."""

from pathlib import Path

from .errors import CheckpointError

__all__ = ['reject_other_content']

# First bytes, what they mean, and the way out.
SIGNATURES = (
    (b'\x89PNG', 'a PNG image', ''),
    (b'\xff\xd8\xff', 'a JPEG image', ''),
    (b'GIF8', 'a GIF image', ''),
    (b'%PDF', 'a PDF document', ''),
    (b'\x1f\x8b', 'compressed with gzip', 'unpack it first'),
    (b'BZh', 'compressed with bzip2', 'unpack it first'),
    (b'\xfd7zXZ', 'compressed with xz', 'unpack it first'),
    (b'\x28\xb5\x2f\xfd', 'compressed with zstd', 'unpack it first'),
    (b'7z\xbc\xaf\x27\x1c', 'a 7z archive', 'unpack it first'),
    (b'\x89HDF', 'an HDF5 file', 'export the weights to torch first'),
    (b'\x93NUMPY', 'a numpy array', ''),
    (b'\x7fELF', 'a program', ''),
    (b'version https://git-lfs', 'a git-lfs pointer', 'fetch the file itself with `git lfs pull`'),
)
PAGES = (b'<!doctype', b'<html', b'<?xml', b'<head')


def reject_other_content(path: Path, start: bytes) -> None:
    """Refuses a file that is something else.

    Args:
        path: The file, for the message.
        start: Its first 512 bytes.

    Raises:
        CheckpointError: It says what the file is and, where there is one, the way out.
    """
    if not start:
        raise CheckpointError(f'{path} is empty')
    if start.lstrip().lower().startswith(PAGES):
        raise CheckpointError(
            f'{path} is an HTML page, not a checkpoint: the download was probably redirected to a '
            f'web page'
        )
    if start[257:262] == b'ustar':
        raise CheckpointError(
            f'{path} is a tar archive, not a checkpoint: unpack it first (torch wrote such files '
            'before 0.1.10; load and save those with a newer one)'
        )
    for first, what, way_out in SIGNATURES:
        if start.startswith(first):
            raise CheckpointError(
                f'{path} is {what}, not a checkpoint' + (f': {way_out}' if way_out else '')
            )
    if _is_text(start):
        raise CheckpointError(f'{path} is not a readable checkpoint: it is a text file')


def _is_text(start: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 or byte == 127 for byte in start) and _is_utf8(start)


def _is_utf8(start: bytes) -> bool:
    try:
        # The last character may be cut.
        start.decode('utf-8', 'strict' if len(start) < 512 else 'ignore')
    except UnicodeDecodeError:
        return False
    return True

"""Checkpoints on the disk: written whole or not at all, found again, judged before they are used.

A file is written under a temporary name, synced, renamed, and its folder synced: whatever ends the
process or the machine meanwhile, the name holds the old file or the new one.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import print_log

from mmvmamba.checkpoint import CheckpointError, check_whole
from mmvmamba.files import put_in_place

__all__ = [
    'latest_checkpoint',
    'remove_parts',
    'remove_stopped',
    'replacing',
    'stopped_name',
    'write_note',
]

PART = '.part'
NOTE = 'last_checkpoint'
STOPPED = re.compile(r'stopped_iter_(\d+)\.pth')


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which takes the place of ``path`` at the end.

    If the writing fails, nothing of it stays and ``path`` is as it was.
    """
    part = path.with_name(path.name + PART)
    try:
        yield part
        put_in_place(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_note(work_dir: str, checkpoint: str) -> None:
    """Notes in ``last_checkpoint`` which checkpoint is the latest."""
    with replacing(Path(work_dir) / NOTE) as part:
        part.write_text(checkpoint)


def remove_parts(folder: str) -> None:
    """Removes what killed runs left of files they did not finish."""
    for name in (f'*.pth{PART}', f'{NOTE}{PART}'):
        for part in Path(folder).glob(name):
            part.unlink(missing_ok=True)


def stopped_name(step: int) -> str:
    """Names the checkpoint of a run that was asked to stop after so many iterations."""
    return f'stopped_iter_{step}.pth'


def remove_stopped(folder: str, step: int) -> None:
    """Removes checkpoints of stopped runs that one of iteration ``step`` makes superfluous."""
    for path in Path(folder).glob('stopped_iter_*.pth'):
        match = STOPPED.fullmatch(path.name)
        if match and int(match[1]) <= step:
            path.unlink(missing_ok=True)


def latest_checkpoint(work_dir: str) -> str | None:
    """Finds the checkpoint to resume from and says which damaged ones it passed over.

    The one that the file ``last_checkpoint`` names comes first, then the others, newest first. A
    crash of the machine, a full disk or a copy that was cut short can leave damaged ones.

    Args:
        work_dir: Folder that holds ``epoch_*.pth``, ``iter_*.pth`` or ``stopped_iter_*.pth``.

    Returns:
        The path of the first that is whole, or None if there is none.
    """
    for path in _candidates(Path(work_dir)):
        try:
            check_whole(path, path.name)
        except CheckpointError as error:
            said = f'passed over a checkpoint: {error}'
            print_log(said, logger='current', level=logging.WARNING)
        else:
            return str(path)
    return None


def _candidates(work_dir: Path) -> list[Path]:
    found = [
        path
        for path in work_dir.glob('*.pth')
        if path.stem.startswith(('epoch_', 'iter_')) or STOPPED.fullmatch(path.name)
    ]
    newest_first = sorted(found, key=lambda path: (path.stat().st_mtime_ns, path), reverse=True)
    noted = _noted(work_dir)
    if noted is None:
        return newest_first
    return [noted, *(path for path in newest_first if path != noted)]


def _noted(work_dir: Path) -> Path | None:
    """What ``last_checkpoint`` names, also after the work dir was moved."""
    try:
        text = (work_dir / NOTE).read_text().strip()
        return next((p for p in (work_dir / Path(text).name, Path(text)) if p.is_file()), None)
    except (OSError, ValueError):
        # No note, or garbage instead of a path.
        return None

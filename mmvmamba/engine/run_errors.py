"""What ends a run from outside, in one sentence that says how to go on."""

import contextlib
import errno
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import resource_sharer
from pathlib import Path

from torch.utils.data._utils import signal_handling

from .checkpoint_files import latest_checkpoint

__all__ = ['RunError', 'out_of_shared_memory', 'run_errors']

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
GO_ON = 'go on with the same command and --resume'


class RunError(RuntimeError):
    """Something outside the program ended a run. The message says what, and how to go on."""


@contextlib.contextmanager
def run_errors(work_dir: str) -> Iterator[None]:
    """Names what happened to the disk, the workers or the other processes of a run.

    Raises:
        RunError: In place of the error that this caused.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise RunError(_disk(error, work_dir)) from error
        sentence = next(filter(None, map(_explain, _chain(error))), None)
        if sentence is None:
            raise
        _hear_no_more_of_workers()
        raise RunError(sentence) from error


def _hear_no_more_of_workers() -> None:
    """Lets no news of a dead worker interrupt what follows the end of a run.

    The news is a signal, for which torch raises amid any line, again and again. Its next data
    loader sets its handler anew.
    """
    if hasattr(signal, 'SIGCHLD') and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal_handling._SIGCHLD_handler_set = False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it came of: torch raises that a worker died amid any line of Python."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def out_of_shared_memory(needed: int | None = None, free: int | None = None) -> str:
    """Says that data loader workers cannot hand over their batches, and the ways out."""
    room = ''
    if needed is not None and free is not None:
        room = f': they need {_mebibytes(needed)}, {_mebibytes(free)} is free'
    return (
        f'/dev/shm is too small for the batches of the data loader workers{room}; give it more '
        '(docker run --shm-size=8g, or --ipc=host), use fewer workers or a smaller batch, or none '
        'with --cfg-options train_dataloader.num_workers=0 train_dataloader.persistent_workers='
        'False and the same for the other data loaders'
    )


def _mebibytes(number: int) -> str:
    return f'{number / 2**20:.1f} MiB'


def _disk(error: OSError, work_dir: str) -> str:
    latest = latest_checkpoint(work_dir)
    kept = 'no checkpoint was written yet' if latest is None else f'{Path(latest).name} is kept'
    place = f'{error.filename} was written' if error.filename else 'a log was written'
    return (
        f'{work_dir}: {error.strerror} when {place}; {kept}. Make room, or let the folder be '
        f'written again, then {GO_ON}'
    )


def _timeout(match: re.Match) -> str:
    return (
        f'another process of the run did not answer for {int(match[1]) / 1000:g} s: it hangs, is '
        'stopped or still computes (its log says which). If it only takes long, raise '
        f'env_cfg.dist_cfg.timeout (seconds) with --cfg-options; then {GO_ON}'
    )


def _lost(match: re.Match) -> str:
    return (
        'another process of the run ended without a word; its own message, or the kernel log if '
        f'memory ran out, says why. Then {GO_ON}'
    )


def _worker(number: str = '') -> str:
    process = f' (process {number})' if number else ''
    return (
        f'a data loader worker{process} was ended from outside, most often because '
        'memory ran out (the kernel log says so): use fewer workers or a smaller batch, then '
        f'{GO_ON}'
    )


# How torch words it -> how we do. The first that is found counts.
EXPLANATIONS: dict[str, Callable[[re.Match], str]] = {
    r'out of shared memory|unable to (?:allocate shared memory|write to file </torch)': (
        lambda match: out_of_shared_memory()
    ),
    r'/dev/shm is too small .*': lambda match: match[0],
    r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:exited unexpectedly|is killed)': (
        lambda match: _worker(match[1])
    ),
    r'Timed out waiting (\d+)ms for': _timeout,
    r'Connection (?:closed|reset) by peer|pair closure|Broken pipe': _lost,
}


def _explain(error: BaseException) -> str | None:
    if isinstance(error, ConnectionError | EOFError | FileNotFoundError) and _fetches_batch(error):
        return _worker()
    if not isinstance(error, RuntimeError):
        return None
    for pattern, sentence in EXPLANATIONS.items():
        match = re.search(pattern, str(error))
        if match:
            return sentence(match)
    return None


def _fetches_batch(error: BaseException) -> bool:
    """Whether an error arose when a tensor was fetched from the worker that holds it."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_filename == resource_sharer.__file__ for frame, _ in frames)

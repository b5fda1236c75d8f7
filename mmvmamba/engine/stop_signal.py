"""Ending a training when the system asks for it, with a checkpoint to go on from."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from ctypes import c_byte
from functools import partial
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .checkpoint_files import stopped_name, write_note

__all__ = ['EXIT_STOPPED', 'SIGNALS', 'StopSignalHook']

EXIT_STOPPED = 128 + signal.SIGTERM
# A user's kill, the end of a time limit, preemption; what Slurm sends ahead of them if asked to.
SIGNALS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGUSR1') if hasattr(signal, name))
# One request to stop may reach a process twice, as one of a group and by itself.
SAME_REQUEST = 2.0


class StopSignalHook(Hook):
    """Writes a checkpoint after the step in which SIGTERM or SIGUSR1 arrived, and ends the process.

    It is enough that one process of a distributed run gets the signal: all agree on the step. The
    exit code is 143. While a run is validated, it ends after the first step that follows.
    """

    # After all that changes what is saved.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received = 0
        # Shared with the workers: whether nobody needs them any more.
        self._is_over = RawValue('b', 0)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Notes the signals meanwhile; without it they end the process at once."""
        before = {}
        self._is_over.value = 0
        # Python takes handlers in its first thread only.
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            self._is_over.value = 1
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def before_train(self, runner: Runner) -> None:
        """Has the workers of the data loaders outlive a signal that is sent to all processes."""
        _protect_workers(runner.train_dataloader, self._is_over)
        if runner.val_loop is not None:
            _protect_workers(runner.val_dataloader, self._is_over)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Ends the run if a process was asked to.

        Raises:
            SystemExit: With 143, once the checkpoint is on the disk.
        """
        number = self._agree()
        # Gradients that were gathered but not yet applied would be lost.
        if not number or not _weights_are_updated(runner):
            return
        done = runner.iter + 1
        path = Path(runner.work_dir, stopped_name(done))
        runner.save_checkpoint(runner.work_dir, path.name, by_epoch=False)
        if is_main_process():
            write_note(runner.work_dir, str(path))
            runner.logger.warning(
                f'stopped by {signal.Signals(number).name} after {done} iterations; wrote {path}. '
                'The same command with --resume goes on from there.'
            )
        barrier()
        raise SystemExit(EXIT_STOPPED)

    def _agree(self) -> int:
        if get_world_size() == 1:
            return self._received
        number = torch.tensor([self._received])
        all_reduce(number, 'max')
        return int(number)


def _weights_are_updated(runner: Runner) -> bool:
    wrapper = runner.optim_wrapper
    return not isinstance(wrapper, OptimWrapper) or wrapper.should_update()


def _protect_workers(loader: DataLoader, is_over: c_byte) -> None:
    loader.worker_init_fn = partial(_outlast_request, is_over=is_over, then=loader.worker_init_fn)


def _outlast_request(
    worker_id: int, is_over: c_byte, then: Callable[[int], None] | None = None
) -> None:
    """Has a worker ignore one request to stop: the process it works for needs it for a step more.

    It does not ignore a second one, which is how a main process gets rid of a worker that hangs,
    and none when the run is over: at its end Python sends one, and waits.
    """
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        first.append(time.monotonic())
        if is_over.value or first[-1] - first[0] > SAME_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in SIGNALS:
        signal.signal(number, handle)
    if then is not None:
        then(worker_id)

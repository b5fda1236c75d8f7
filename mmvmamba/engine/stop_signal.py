"""Ending a training when the system asks for it, with a checkpoint to go on from."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
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


class StopSignalHook(Hook):
    """Writes a checkpoint after the step in which SIGTERM or SIGUSR1 arrived, and ends the process.

    It is enough that one process of a distributed run gets the signal: all agree on the step. The
    exit code is 143. While a run is validated, it ends after the first step that follows.
    """

    # After all that changes what is saved.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Notes the signals meanwhile; without it they end the process at once."""
        before = {}
        # Python takes handlers in its first thread only.
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def before_train(self, runner: Runner) -> None:
        """Has the workers of the data loaders outlive a signal that is sent to all processes."""
        _protect_workers(runner.train_dataloader)
        if runner.val_loop is not None:
            _protect_workers(runner.val_dataloader)

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


def _protect_workers(loader: DataLoader) -> None:
    # macOS does not tell who sent a signal.
    if not loader.num_workers or not hasattr(signal, 'sigwaitinfo'):
        return
    loader.worker_init_fn = partial(_obey_parent_alone, then=loader.worker_init_fn)
    context = loader.multiprocessing_context or multiprocessing.get_context()
    if context.get_start_method() == 'fork':
        # Windows has no such processes.
        from .shielded_fork import ShieldedForkContext

        loader.multiprocessing_context = ShieldedForkContext()


def _obey_parent_alone(worker_id: int, then: Callable[[int], None] | None = None) -> None:
    """Has a worker ignore requests to stop, except those of the process that it works for.

    That one needs it for a step more, and ends it in the end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()
    if then is not None:
        then(worker_id)


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != parent:
        pass
    os._exit(0)

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from mmvmamba.engine import latest_checkpoint
from mmvmamba.engine.stop_signal import StopSignalHook, _protect_workers

from .small_run import Numbers, small_runner

CHECKPOINT = dict(type='mmvmamba.CheckpointHook', interval=1)


class SendSignal(Hook):
    """Sends this process a signal in the midst of a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(number, tmp_path, capsys):
    runner = small_runner(tmp_path, CHECKPOINT, hooks=[SendSignal(number, step=2)])
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 143
    path = tmp_path / 'stopped_iter_3.pth'
    assert latest_checkpoint(str(tmp_path)) == str(path)
    meta = torch.load(path, weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (1, 3)
    said = capsys.readouterr()
    assert (
        f'stopped by {number.name} after 3 iterations; wrote {path}. '
        'The same command with --resume goes on from there.'
    ) in said.out + said.err


def test_the_checkpoint_of_the_stop_goes_with_the_next_one(tmp_path):
    with pytest.raises(SystemExit):
        small_runner(tmp_path, CHECKPOINT, hooks=[SendSignal(signal.SIGTERM, step=2)]).train()
    small_runner(
        tmp_path, CHECKPOINT, resume=True, load_from=latest_checkpoint(str(tmp_path))
    ).train()
    names = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert names == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_gathered_gradients_are_applied_before_the_stop(tmp_path):
    runner = small_runner(
        tmp_path,
        CHECKPOINT,
        hooks=[SendSignal(signal.SIGTERM, step=2)],
        accumulative_counts=2,
    )
    with pytest.raises(SystemExit):
        runner.train()
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'stopped_iter_4.pth')


@pytest.mark.parametrize('fails', [False, True], ids=['ends', 'fails'])
def test_the_handlers_of_before_come_back(fails, tmp_path):
    mine = [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGUSR1)]
    try:
        runner = small_runner(tmp_path, CHECKPOINT, epochs=1)
        if fails:
            runner._train_loop = None
            with pytest.raises(RuntimeError, match='train_dataloader'):
                runner.train()
        else:
            runner.train()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, mine[0])
        signal.signal(signal.SIGUSR1, mine[1])


def test_a_run_in_another_thread_trains_without_listening(tmp_path):
    runner = small_runner(tmp_path, CHECKPOINT, epochs=1)
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert (tmp_path / 'epoch_1.pth').is_file()


def test_another_process_may_have_got_the_signal(monkeypatch):
    monkeypatch.setattr('mmvmamba.engine.stop_signal.get_world_size', lambda: 2)
    monkeypatch.setattr(
        'mmvmamba.engine.stop_signal.all_reduce',
        lambda number, op: number.fill_(signal.SIGUSR1 if op == 'max' else 0),
    )
    assert StopSignalHook()._agree() == signal.SIGUSR1


class SlowNumbers(Numbers):
    def __getitem__(self, index):
        if index == 3:
            # Sent twice, as one of a group and by torchrun.
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


def test_a_worker_outlasts_a_signal_to_all_processes(tmp_path):
    loader = DataLoader(
        SlowNumbers(), num_workers=1, worker_init_fn=lambda worker: (tmp_path / 'begun').touch()
    )
    _protect_workers(loader)
    assert [int(batch['inputs']) for batch in loader] == list(range(8))
    assert (tmp_path / 'begun').exists()


def test_a_worker_outlasts_a_signal_while_it_starts(monkeypatch):
    """Before it is initialised, when PyTorch's handlers are in place and ours are not."""
    set_handlers = signal_handling._set_worker_signal_handlers

    def set_and_meet_a_signal():
        set_handlers()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(signal_handling, '_set_worker_signal_handlers', set_and_meet_a_signal)
    loader = DataLoader(Numbers(), num_workers=1)
    _protect_workers(loader)
    assert [int(batch['inputs']) for batch in loader] == list(range(8))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


class HangingNumbers(Numbers):
    def __getitem__(self, index):
        threading.Event().wait()


def test_a_worker_that_hangs_can_be_ended():
    loader = DataLoader(HangingNumbers(), num_workers=1)
    _protect_workers(loader)
    iterator = iter(loader)
    (worker,) = iterator._workers
    worker.join(1)
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_workers_end_when_python_does():
    """Python's exit sends each worker that is left one signal, and waits for it without end."""
    loader = DataLoader(Numbers(), num_workers=1, persistent_workers=True)
    _protect_workers(loader)
    iterator = iter(loader)
    next(iterator)
    (worker,) = iterator._workers
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


@pytest.mark.slow
def test_a_process_that_fails_takes_its_workers_along(tmp_path):
    """The error keeps the iterator alive, so that nobody tells the workers that this is the end."""
    script = tmp_path / 'fails.py'
    script.write_text(
        'from tests.engine.small_run import Numbers\n'
        'from mmvmamba.engine.stop_signal import _protect_workers\n'
        'from torch.utils.data import DataLoader\n'
        'loader = DataLoader(Numbers(), num_workers=1)\n'
        '_protect_workers(loader)\n'
        'batches = iter(loader)\n'
        'next(batches)\n'
        'raise SystemExit(3)\n'
    )
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(script)], env=environment, timeout=60)
    assert done.returncode == 3

"""Disks, processes and shared memory that fail a run, and what it says of them."""

import errno
import logging
import os
import signal
import sys
from multiprocessing import resource_sharer

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from mmvmamba.engine import shared_memory
from mmvmamba.engine.run_errors import RunError, run_errors
from mmvmamba.engine.shared_memory import guard_shared_memory

from .small_run import small_runner

CHECKPOINT = dict(type='mmvmamba.CheckpointHook', interval=1)

WORDINGS = {
    'Timed out waiting 300000ms for recv operation to complete': (
        'did not answer for 300 s.*env_cfg.dist_cfg.timeout.*--resume'
    ),
    '[/gloo/pair.cc:538] Read error [127.0.0.1]:1: Connection reset by peer': (
        'another process of the run ended without a word'
    ),
    'Connection closed by peer [10.0.0.1]:1234': 'another process of the run ended',
    'Application timeout caused pair closure': 'another process of the run ended',
    'DataLoader worker (pid 17) is killed by signal: Killed. ': (
        r'a data loader worker \(process 17\) was ended from outside.*memory.*--resume'
    ),
    'DataLoader worker (pid(s) 17, 18) exited unexpectedly': r'worker \(process 17, 18\)',
    "DataLoader worker (pid 17) is killed by signal: Bus error. It is possible that dataloader's "
    'workers are out of shared memory. Please try to raise your shared memory limit.': (
        '/dev/shm is too small for the batches of the data loader workers; give it more'
    ),
    'unable to allocate shared memory(shm) for file </torch_1_2_0>: Resource temporarily '
    'unavailable (11)': '--shm-size=8g.*train_dataloader.num_workers=0',
}


@pytest.mark.parametrize('wording', WORDINGS)
def test_what_torch_reports_is_explained(wording, tmp_path):
    with pytest.raises(RunError, match=WORDINGS[wording]) as caught, run_errors(str(tmp_path)):
        raise RuntimeError(wording)
    assert '\n' not in str(caught.value)


def test_a_worker_may_die_amid_code_that_words_it_anew(tmp_path):
    with (
        pytest.raises(RunError, match='worker \\(process 17\\) was ended'),
        run_errors(str(tmp_path)),
    ):
        try:
            raise RuntimeError('DataLoader worker (pid 17) is killed by signal: Killed. ')
        except RuntimeError as error:
            raise SyntaxError('Failed to format the config file') from error


def test_a_worker_may_die_while_a_batch_is_fetched_from_it(tmp_path, monkeypatch):
    # The whole path could be longer than an address may be.
    monkeypatch.chdir(tmp_path)
    gone = resource_sharer.DupFd(0)
    gone._id = ('socket', gone._id[1])
    with (
        pytest.raises(RunError, match='a data loader worker was ended from outside'),
        run_errors(str(tmp_path)),
    ):
        gone.detach()


def test_a_worker_may_die_while_the_error_of_another_is_explained(tmp_path):
    dead = 'DataLoader worker (pid {}) is killed by signal: Killed. '

    def interrupt(frame, event, argument):
        if event == 'call' and frame.f_code.co_name == '__exit__':
            raise RuntimeError(dead.format(18))

    with (
        pytest.raises(RunError, match=r'\(process 18\)') as caught,
        run_errors(str(tmp_path)),
        run_errors(str(tmp_path)),
    ):
        sys.setprofile(interrupt)
        raise RuntimeError(dead.format(17))
    sys.setprofile(None)
    assert str(caught.value.__cause__.__context__) == dead.format(17)


def test_news_of_a_dead_worker_do_not_interrupt_what_follows_its_error(tmp_path, monkeypatch):
    dead = 'DataLoader worker (pid 17) is killed by signal: Killed. '

    def interrupt(number, frame):
        raise RuntimeError(dead)

    monkeypatch.setattr(signal_handling, '_SIGCHLD_handler_set', True)
    before = signal.signal(signal.SIGCHLD, interrupt)
    try:
        with pytest.raises(RunError, match=r'\(process 17\)'), run_errors(str(tmp_path)):
            raise RuntimeError(dead)
        signal.raise_signal(signal.SIGCHLD)
        # A data loader that comes later hears of its workers.
        signal_handling._set_SIGCHLD_handler()
        assert callable(signal.getsignal(signal.SIGCHLD))
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(
    'error', [RuntimeError('shape mismatch'), OSError(errno.ENOENT, 'No such file'), KeyError('x')]
)
def test_other_errors_keep_their_traceback(error, tmp_path):
    with pytest.raises(type(error)) as caught, run_errors(str(tmp_path)):
        raise error
    assert caught.value is error


class FullDisk(Hook):
    """Has writing fail from a step on."""

    def __init__(self, step, name):
        self.step, self.name = step, name

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            raise OSError(errno.ENOSPC, 'No space left on device', self.name)


@pytest.mark.parametrize(
    ('step', 'kept'), [(1, 'no checkpoint was written yet'), (2, 'epoch_1.pth is kept')]
)
def test_a_full_disk_says_what_is_kept(step, kept, tmp_path):
    runner = small_runner(tmp_path, CHECKPOINT, hooks=[FullDisk(step, 'scalars.json')])
    with pytest.raises(RunError) as caught:
        runner.train()
    assert str(caught.value) == (
        f'{tmp_path}: No space left on device when scalars.json was written; {kept}. '
        'Make room, or let the folder be written again, then go on with the same command and '
        '--resume'
    )


class FullLog(logging.StreamHandler):
    def __init__(self):
        super().__init__(open(os.devnull, 'w'))  # noqa: SIM115


def test_a_log_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    runner = small_runner(tmp_path, CHECKPOINT)

    def full():
        raise OSError(errno.ENOSPC, 'No space left on device')

    (handler,) = (h for h in runner.logger.handlers if isinstance(h, logging.FileHandler))
    monkeypatch.setattr(handler, 'flush', full)
    with pytest.raises(RunError, match=rf'No space left on device when {tmp_path}/.*\.log was'):
        runner.train()


class Images(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(1000, 250), data_samples=BaseDataElement(mask=torch.ones(9)))


def collate(samples):
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def load(workers=2):
    loader = DataLoader(Images(), batch_size=2, num_workers=workers, collate_fn=collate)
    guard_shared_memory(loader)
    return [len(batch['inputs']) for batch in loader]


def test_batches_that_fit_into_shared_memory_pass():
    assert load() == load(workers=0) == [2, 2]


# Two batches, one of each worker: two images of 1 MB in whole pages, two masks of a page.
NEEDED = 2 * 2 * (245 * 4096 + 4096)


@pytest.mark.parametrize('free', [0, NEEDED - 1, NEEDED])
def test_batches_that_do_not_fit_are_refused_before_they_are_handed_over(free, monkeypatch):
    state = os.statvfs('/')
    fields = dict(zip(range(10), state[:10], strict=True)) | {1: 1, 4: free}
    monkeypatch.setattr(
        shared_memory.os, 'statvfs', lambda path: os.statvfs_result(fields.values())
    )
    if free == NEEDED:
        assert load() == [2, 2]
    else:
        with pytest.raises(RunError, match=r'they need 3\.8 MiB, \d\.\d MiB is free; give it more'):
            load()

"""A training of a very small classifier through the tools, to be hurt from outside."""

import contextlib
import multiprocessing
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

__all__ = ['ROOT', 'Training', 'children', 'write_config']

ROOT = Path(__file__).parents[2]
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(
    [
        'mmvmamba.cli.training',
        'mmvmamba.models.classifiers',
        'mmpretrain.datasets',
        'mmpretrain.evaluation',
        'mmpretrain.visualization',
        'tests.tools.small_training',
    ]
)
CONFIG = """
_base_ = '{root}/configs/_base_/default_runtime_cls.py'
load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32))]
data = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmpretrain.CustomDataset',
        data_root='{data}',
        pipeline=[*load, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')],
    ),
)
train_dataloader = data
val_dataloader = data
val_evaluator = dict(type='mmpretrain.Accuracy', topk=1)
val_cfg = dict()
data_preprocessor = dict(num_classes=6, mean=[128] * 3, std=[64] * 3)
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmvmamba.MambaOut',
        arch=dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, {width})),
        out_indices=(3,),
    ),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=6, in_channels={width}),
)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
randomness = dict(seed=3)
"""
BY_EPOCH = """
train_cfg = dict(by_epoch=True, max_epochs={length}, val_interval=1000)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=1, max_keep_ckpts={keep}, save_best=None),
)
"""
BY_STEP = """
train_cfg = dict(by_epoch=False, max_iters={length}, val_interval=100000)
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts={keep}, save_best=None),
)
"""
STEP = re.compile(r'Iter\(train\) +\[ *(\d+)/|Epoch\(train\) +\[ *(\d+)\]\[ *(\d+)/(\d+)\]')
RESUMED = re.compile(r'resumed epoch: \d+, iter: (\d+)')


def write_config(path, data, by_epoch, width=64, length=100_000, keep=2):
    """Writes a config of a training that checkpoints every epoch or every second step."""
    schedule = (BY_EPOCH if by_epoch else BY_STEP).format(length=length, keep=keep)
    path.write_text(CONFIG.format(root=ROOT, data=data, width=width) + schedule)
    return path


def children(pid):
    """Numbers of the processes that a process started, the oldest first."""
    listed = subprocess.run(
        ['ps', '-o', 'pid=', '--sort', 'start_time', '--ppid', str(pid)],
        capture_output=True,
        text=True,
    )
    # `ps` is a child itself if this process is asked for.
    return [int(number) for number in listed.stdout.split()]


def tool_process(name, arguments, log, environment):
    """What a process does that runs a tool: as if started anew, but for the imports."""
    os.setsid()
    with open(log, 'a') as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = open(1, 'w', buffering=1), open(2, 'w', buffering=1)  # noqa: SIM115
    os.environ.update(environment)
    sys.argv = [name, *arguments]
    runpy.run_path(name, run_name='__main__')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Training:
    """A running training, forked from a process that has imported everything.

    Args:
        config: Its config.
        work_dir: Its work dir.
        arguments: Further arguments of the tool.
        processes: How many run it.
    """

    def __init__(self, config, work_dir, *arguments, processes=1):
        self.log = config.parent / f'{time.monotonic_ns()}.txt'
        arguments = [str(config), '--work-dir', str(work_dir), *arguments]
        environments = [{}]
        if processes > 1:
            arguments.append('--launcher=pytorch')
            common = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
            common |= dict(WORLD_SIZE=str(processes))
            environments = [
                common | dict(RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(processes)
            ]
        self.processes = [
            FORKS.Process(
                target=tool_process,
                args=(str(ROOT / 'tools/train.py'), arguments, str(self.log), environment),
            )
            for environment in environments
        ]
        for process in self.processes:
            process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()

    @property
    def pid(self):
        """The number of the first process."""
        return self.processes[0].pid

    @property
    def output(self):
        return self.log.read_text() if self.log.exists() else ''

    @property
    def step(self):
        """The last step that was logged; None before the first."""
        matches = STEP.findall(self.output)
        if not matches:
            return None
        step, epoch, index, length = (int(group or 0) for group in matches[-1])
        return step or (epoch - 1) * length + index

    @property
    def resumed_at(self):
        """The step from which this training went on; 0 if from the beginning."""
        match = RESUMED.search(self.output)
        return int(match[1]) if match else 0

    def signal(self, number, rank=0):
        """Sends a signal to a process and its workers, as the end of a job does."""
        os.killpg(self.processes[rank].pid, number)

    def wait_for_step(self, timeout=120):
        """Waits until this training has made a step."""
        end = time.monotonic() + timeout
        while self.step is None:
            running = all(process.is_alive() for process in self.processes)
            assert running and time.monotonic() < end, self.output[-3000:]
            time.sleep(0.02)

    def wait(self, timeout=120):
        """Waits for the end of the first process; returns its exit code."""
        self.processes[0].join(timeout)
        assert self.processes[0].exitcode is not None, self.output[-3000:]
        return self.processes[0].exitcode

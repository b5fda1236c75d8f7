"""Small trainings that record all they see, may be stopped at any step, and go on from there."""

import itertools
import json
import os
import random

import numpy as np
import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmvmamba.engine import Runner

SAMPLES, BATCH = 22, 4
# mmengine keeps what it knows of a run under its name.
NAMES = map('run {}'.format, itertools.count())


@DATASETS.register_module(force=True)
class DrawingDataset(Dataset):
    """Samples made of random numbers from all generators that transforms use."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return SAMPLES

    def get_data_info(self, index):
        return dict(width=2 + index % 3, height=3)

    def __getitem__(self, index):
        self.read.append(index)
        draws = [index, random.random(), np.random.rand(), torch.rand(()).item()]  # noqa: NPY002
        return dict(inputs=torch.tensor(draws, dtype=torch.float64))


@MODELS.register_module(force=True)
class DrawingModel(BaseModel):
    """A network with statistics, dropout and a loss that depends on the batch."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3))

    def forward(self, inputs, mode='tensor'):
        out = self.layers(torch.stack(inputs).float())
        return dict(loss=(out - np.random.rand()).square().mean())  # noqa: NPY002


class Recorder(Hook):
    """Writes down batches, losses and learning rates; saves and stops after a step if asked to."""

    priority = 'LOWEST'

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.steps = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        rate = runner.optim_wrapper.get_lr()['lr'][0]
        batch = torch.stack(data_batch['inputs']).tolist()
        self.steps[runner.iter] = (runner.epoch, batch_idx, batch, outputs['loss'].item(), rate)
        self.stop(runner)

    def stop(self, runner):
        if runner.iter + 1 == self.stop_after:
            runner.save_checkpoint(runner.work_dir, 'stopped.pth', by_epoch=False)
            raise KeyboardInterrupt


def config(work_dir, by_epoch, workers=0, **changes):
    schedule = dict(max_epochs=3) if by_epoch else dict(max_iters=14)
    return dict(
        model=dict(type='DrawingModel'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=BATCH,
            num_workers=workers,
            persistent_workers=changes.pop('persistent_workers', False),
            sampler=changes.pop('sampler', dict(type='DefaultSampler', shuffle=True)),
            batch_sampler=changes.pop('batch_sampler', None),
            dataset=dict(type='DrawingDataset'),
        ),
        train_cfg=dict(by_epoch=by_epoch, **schedule),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.1),
            accumulative_counts=changes.pop('accumulative_counts', 1),
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=7),
            dict(type='ExponentialLR', gamma=0.5, by_epoch=by_epoch),
        ],
        default_hooks=dict(checkpoint=None, logger=None, timer=None),
        custom_hooks=[dict(type='EMAHook', update_buffers=True)],
        default_scope='mmengine',
        randomness=dict(seed=3),
        log_level='ERROR',
        launcher='pytorch' if dist.is_initialized() else 'none',
        **changes,
    )


def train(settings, resume=None, stop_after=None):
    """Runs a training.

    Returns:
        What its recorder saw, and all that training changed, at the end.
    """
    settings = dict(settings, experiment_name=next(NAMES))
    if resume:
        settings.update(load_from=str(resume), resume=True)
    runner = Runner(**settings)
    recorder = Recorder(stop_after)
    runner.register_hook(recorder)
    try:
        runner.train()
    except KeyboardInterrupt:
        return recorder.steps, None
    model = getattr(runner.model, 'module', runner.model)
    averages = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model
    return recorder.steps, dict(
        rank=get_rank(),
        weights=model.state_dict(),
        averages=averages.state_dict(),
        optimizer=runner.optim_wrapper.state_dict(),
        rates=[scheduler.state_dict() for scheduler in runner.param_schedulers],
    )


def stop_and_resume(settings, folder, step):
    """Stops a run after a step; returns what it and the resumed one saw, and the end."""
    before, _ = train(settings, stop_after=step)
    after, end = train(settings, resume=folder / 'stopped.pth')
    return {**before, **after}, end


def compare_in_process(rank, processes, folder, kinds, step):
    """Joins a group of processes; writes where resumed runs differ from whole ones, by kind."""
    os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(processes))
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=processes
    )
    found = {}
    for kind, changes in kinds.items():
        settings = config(folder, **changes)
        found[kind] = difference(train(settings), stop_and_resume(settings, folder, step))
    (folder / f'rank{rank}.json').write_text(json.dumps(found))
    dist.destroy_process_group()


def difference(expected, got, where='run'):
    """Names the first place where two results differ, to the bit."""
    if isinstance(expected, torch.Tensor):
        return None if torch.equal(expected, got) else where
    if isinstance(expected, dict):
        if expected.keys() != got.keys():
            return f'{where}: {sorted(map(str, expected.keys() ^ got.keys()))}'
        pairs = [(expected[key], got[key], f'{where}.{key}') for key in expected]
    elif isinstance(expected, list | tuple):
        if len(expected) != len(got):
            return f'{where}: {len(got)} in place of {len(expected)}'
        pairs = [(a, b, f'{where}.{n}') for n, (a, b) in enumerate(zip(expected, got, strict=True))]
    else:
        return None if expected == got else where
    return next(filter(None, (difference(*pair) for pair in pairs)), None)

"""Trainings of small classifiers under a strategy, in one process or several."""

import itertools
import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from mmvmamba.cli.training import build_runner

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# By the names of their files; None is `Runner`, without one.
FILES = sorted(path.stem for path in (CONFIGS / '_base_/strategies').glob('*.py'))
# DeepSpeed is installed by those who want it.
STRATEGIES = [None, *(name for name in FILES if 'deepspeed' not in name or find_spec('deepspeed'))]
FAMILIES = sorted(path.stem for path in (CONFIGS / 'toy').glob('cls_*.py'))
SAMPLES, GLOBAL_BATCH, STOP = 24, 8, 4
BN = dict(type='BN1d')
BACKBONE = dict(type='mmvmamba.MambaOut', arch=dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)))
QUIET = dict(logger=None, timer=None, checkpoint=None)
NAMES = map('strategy run {}'.format, itertools.count())


@DATASETS.register_module(force=True)
class ColouredSquares(Dataset):
    """Images whose class is their brightest channel."""

    metainfo = dict(classes=('red', 'green', 'blue'))

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        from mmpretrain.structures import DataSample

        image = torch.from_numpy(np.random.default_rng(index).normal(size=(3, 32, 32))).float()
        image[index % 3] += 1
        return dict(inputs=image, data_samples=DataSample().set_gt_label(index % 3))


class Losses(Hook):
    """Writes down the mean loss of all processes after each step; stops after one if asked to."""

    priority = 'LOWEST'

    def __init__(self, stop_after=None):
        self.losses = []
        self.stop_after = stop_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].detach().clone()
        if dist.is_initialized():
            dist.all_reduce(loss)
            loss /= dist.get_world_size()
        self.losses.append(loss.item())
        if runner.iter + 1 == self.stop_after:
            runner.save_checkpoint(runner.work_dir, 'stopped.pth', by_epoch=False)
            raise KeyboardInterrupt


def config(work_dir, name, custom_hooks=(), **changes):
    """A training of two epochs of three steps under a strategy of ``STRATEGIES``."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    file = CONFIGS / '_base_/strategies' / f'{name}.py'
    settings = Config.fromfile(file).to_dict() if name else {}
    base = dict(
        model=dict(
            type='mmpretrain.ImageClassifier',
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', num_classes=3),
            backbone=BACKBONE,
            neck=[
                dict(type='mmpretrain.GlobalAveragePooling'),
                dict(type='mmpretrain.LinearNeck', in_channels=16, out_channels=16, norm_cfg=BN),
            ],
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=16),
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=GLOBAL_BATCH // processes,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='ColouredSquares'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(
            type='mmvmamba.FiniteAmpOptimWrapper',
            optimizer=dict(type='AdamW', lr=0.01),
            clip_grad=dict(max_norm=1.0),
        ),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4)],
        default_hooks=dict(
            checkpoint=dict(type='mmvmamba.CheckpointHook', interval=1),
            logger=None,
            timer=None,
            finite=dict(type='mmvmamba.FiniteWeightsHook', interval=1),
        ),
        custom_hooks=list(custom_hooks),
        default_scope='mmpretrain',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        randomness=dict(seed=3),
        log_level='ERROR',
        launcher='pytorch' if dist.is_initialized() else 'none',
        # Statistics of all processes are those of one with the same batch.
        sync_bn='torch',
    )
    return {**base, **settings, **changes}


def train(settings, load_from=None, resume=False, stop_after=None):
    """Runs a training; returns the losses of its steps."""
    settings = dict(settings, experiment_name=next(NAMES), resume=resume)
    if load_from:
        settings['load_from'] = str(load_from)
    runner = build_runner(Config(settings))
    recorder = Losses(stop_after)
    runner.register_hook(recorder)
    try:
        runner.train()
    except KeyboardInterrupt:
        assert stop_after
    return recorder.losses


def stopped_run(folder, strategy):
    """Where a run leaves the checkpoint at which it was stopped."""
    return folder / str(strategy) / 'stopped.pth'


def join(rank, processes, folder):
    """Joins a group of processes."""
    os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(processes))
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=processes
    )
    torch.set_num_threads(1)


def run_strategies(rank, processes, folder, alone):
    """Runs trainings under all strategies in one of several processes; writes their losses.

    Each is run at one go; stopped and gone on with; and begun from the checkpoint of each other
    one and of ``alone``.
    """
    join(rank, processes, folder)
    found = {}
    for strategy in STRATEGIES:
        settings = config(folder / str(strategy), strategy)
        found[f'{strategy}, whole'] = train(settings)
        found[f'{strategy}, until it stopped'] = train(settings, stop_after=STOP)
    for source in ['alone', *STRATEGIES]:
        checkpoint = alone if source == 'alone' else stopped_run(folder, source)
        for strategy in STRATEGIES:
            settings = config(folder / 'taken over', strategy)
            found[f'{strategy} from {source}'] = train(settings, checkpoint, resume=True)
    (folder / f'rank{rank}.json').write_text(json.dumps(found))
    dist.destroy_process_group()


def family_config(work_dir, family, strategy):
    """A training of two steps of a family's small classifier."""
    toy = Config.fromfile(CONFIGS / 'toy' / f'{family}.py')
    model = {**toy.model.to_dict(), 'data_preprocessor': toy.data_preprocessor.to_dict()}
    imports = dict(custom_imports=toy.custom_imports) if 'custom_imports' in toy else {}
    settings = config(work_dir, strategy, model=model, **imports)
    return {**settings, 'train_cfg': dict(by_epoch=False, max_iters=2), 'default_hooks': QUIET}


def run_families(rank, processes, folder):
    """Trains every family under the sharding strategies; writes the losses."""
    join(rank, processes, folder)
    found = {}
    for family, strategy in itertools.product(FAMILIES, ('fsdp', 'fsdp_checkpointing')):
        settings = family_config(folder / 'families', family, strategy)
        found[f'{family}, {strategy}'] = train(settings)
    (folder / f'rank{rank}.json').write_text(json.dumps(found))
    dist.destroy_process_group()

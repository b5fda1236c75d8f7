"""A training run of a handful of numbers, for tests of what happens around the training."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import nn
from torch.utils.data import Dataset

from mmvmamba.engine import Runner

__all__ = ['Numbers', 'ScriptedMetric', 'SmallModel', 'small_runner']


class Numbers(Dataset):
    """Eight numbers."""

    metainfo = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class SmallModel(BaseModel):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        out = self.layer(torch.stack(list(inputs)))
        return dict(loss=out.square().mean()) if mode == 'loss' else [out]


class ScriptedMetric(BaseMetric):
    """Gives the figures it was told to give, one evaluation after the other."""

    default_prefix = 'scripted'

    def __init__(self, *figures):
        super().__init__()
        self.figures = list(figures)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(acc=self.figures.pop(0))


def small_runner(
    work_dir, checkpoint, epochs=3, hooks=(), figures=None, accumulative_counts=1, **settings
):
    """Builds a run of ``epochs`` of two steps, with figures of validation after each epoch."""
    name = f'{work_dir.name}_{len(DefaultScope._instance_dict)}'
    loader = dict(batch_size=4, num_workers=0, dataset=Numbers())
    if figures is not None:
        settings |= dict(
            val_dataloader=dict(
                **loader, sampler=dict(type='mmengine.DefaultSampler', shuffle=False)
            ),
            val_evaluator=[ScriptedMetric(*figures)],
            val_cfg=dict(),
        )
    return Runner(
        model=SmallModel(),
        work_dir=str(work_dir),
        experiment_name=name,
        train_dataloader=dict(**loader, sampler=dict(type='mmengine.DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1), accumulative_counts=accumulative_counts
        ),
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=list(hooks),
        default_scope='mmengine',
        **settings,
    )

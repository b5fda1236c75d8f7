"""Detectors and segmentors by the names of their config files."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope
from torch import nn

from mmvmamba.checkpoint import load_model

from .metafiles import TASKS, read_metafile, task_configs
from .provenance import mark_official

__all__ = [
    'TASKS',
    'TASK_WEIGHTS',
    'attach_config',
    'build_from_config',
    'build_task_model',
    'dataset_meta',
    'task_configs',
    'task_of_config',
]

# Official weights by config name.
TASK_WEIGHTS = {
    name: model['Weights']
    for folder in TASKS.values()
    for name, model in read_metafile(folder).items()
    if 'Weights' in model
}
LOADER_OF_ARRAYS = 'LoadImageFromNDArray'


def build_task_model(
    name: str,
    pretrained: bool | str | Path,
    num_classes: int | None,
    entry: str | None,
    backbone_overrides: dict,
) -> nn.Module:
    """Builds a detector or segmentor; see ``get_model``."""
    if num_classes is not None:
        raise ValueError(
            f'num_classes is for classifiers; for {name} change the heads in a config that starts '
            f'from {task_configs()[name]}'
        )
    if pretrained is True and name not in TASK_WEIGHTS:
        raise ValueError(f'there are no official weights of {name}; give a file')
    config = Config.fromfile(task_configs()[name])
    config.model.backbone.update(backbone_overrides)
    model: Any = build_from_config(config)
    if pretrained:
        load_model(model, TASK_WEIGHTS[name] if pretrained is True else pretrained, entry)
    attach_config(model, config)
    model.model_name = name
    mark_official(model, pretrained is True)
    return model


def build_from_config(config: Config) -> nn.Module:
    """Builds the model of a config, on any device and without its initial weights."""
    # The weights are those of the whole model, or none.
    config.model.backbone.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return revert_sync_batchnorm(MODELS.build(config.model))


def attach_config(model: Any, config: Config) -> None:
    """Gives a model its config where mmdet's and mmseg's functions for inference look for it.

    They build the test pipeline in no scope, of ``test_dataloader`` the one and of
    ``test_pipeline``, without annotations, the other.
    """
    dataset = config.test_dataloader.dataset
    toolbox = TRANSFORMS.children[config.default_scope]
    toolbox.import_from_location()
    for step in dataset.pipeline:
        if step['type'] in toolbox.module_dict:
            step['type'] = f'{config.default_scope}.{step["type"]}'
    if config.default_scope == 'mmseg':
        # Which mmseg's function puts in the first place if it is given arrays.
        arrays = toolbox.module_dict[LOADER_OF_ARRAYS]
        TRANSFORMS.register_module(LOADER_OF_ARRAYS, module=arrays, force=True)
    config.test_pipeline = [
        step for step in dataset.pipeline if not step['type'].endswith('LoadAnnotations')
    ]
    model.cfg = config


def dataset_meta(cfg: Config) -> dict:
    """The classes and colours of the test data set of a config, which need not be there."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset: BaseDataset = DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True})
    return {key: dataset.metainfo[key] for key in ('classes', 'palette') if key in dataset.metainfo}


def task_of_config(config: Config) -> str:
    """The task of a detector's or segmentor's config, by its toolbox."""
    return dict(mmdet='detection', mmseg='segmentation')[config.default_scope]

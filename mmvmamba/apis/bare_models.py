"""Models of any task by name or config file, without weights: to be counted, timed, looked at."""

import warnings
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from .model_table import find_model
from .models import build_classifier, model_config
from .preprocess import Preprocessing
from .task_models import build_from_config, task_configs

__all__ = ['bare_config', 'build_bare', 'default_shape']

# Height and width at which the papers give the operations of detectors and segmentors.
SHAPES = {'mmdet': (800, 1280), 'mmseg': (512, 2048)}


def bare_config(model: str) -> Config:
    """The config of a model.

    Args:
        model: A name that ``get_model`` takes, or a config file.

    Raises:
        ValueError: There is no such model or file.
    """
    if model.endswith('.py'):
        if not Path(model).is_file():
            raise ValueError(f'config file {model} does not exist')
        return Config.fromfile(model)
    if model in task_configs():
        return Config.fromfile(task_configs()[model])
    return model_config(find_model(model).name)


def build_bare(config: Config, device: str | torch.device = 'cpu') -> nn.Module:
    """Builds the model of a config in evaluation mode, with the weights of its constructors.

    Args:
        config: As ``bare_config`` gives it.
        device: Where it is built; 'meta' takes no memory.
    """
    build = build_classifier if config.default_scope == 'mmpretrain' else build_from_config
    with torch.device(device), warnings.catch_warnings():
        # What the toolboxes say about losses concerns no training here.
        warnings.simplefilter('ignore', UserWarning)
        return build(config).eval()


def default_shape(config: Config) -> tuple[int, int]:
    """Height and width of a classifier's test images, or what the papers take for the task."""
    if config.default_scope in SHAPES:
        return SHAPES[config.default_scope]
    pipeline = config.test_dataloader.dataset.pipeline
    side = Preprocessing.from_pipeline(pipeline).img_size
    return side, side

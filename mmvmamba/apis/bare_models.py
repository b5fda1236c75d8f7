"""Models of any task by name or config file, without weights: to be counted, timed, looked at."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from .classifiers import build_classifier, model_config, quiet_log
from .model_table import find_model
from .task_models import build_from_config, task_configs

__all__ = ['ImagePass', 'bare_config', 'build_bare', 'default_shape', 'training_config']

# Height and width at which the papers give the operations of detectors and segmentors.
SHAPES = {'mmdet': (800, 1280), 'mmseg': (512, 2048)}
DEFAULT_SIDE = 224
# As mmdet counts: the heads of a two-stage detector see this many boxes, those of masks this many.
BOXES = 1000
MASKED_BOXES = 100


def bare_config(model: str) -> Config:
    """The config of a model.

    Args:
        model: A name that ``get_model`` takes, or a config file.

    Raises:
        ValueError: There is no such model or file.
    """
    if model.endswith('.py') or model in task_configs():
        return training_config(model)
    return model_config(find_model(model).name)


def training_config(model: str) -> Config:
    """The whole config of a model, its training included; see ``bare_config``."""
    if model.endswith('.py'):
        if not Path(model).is_file():
            raise ValueError(f'config file {model} does not exist')
        return Config.fromfile(model)
    if model in task_configs():
        return Config.fromfile(task_configs()[model])
    return find_model(model).load_config()


def build_bare(config: Config, device: str | torch.device = 'cpu') -> nn.Module:
    """Builds the model of a config in evaluation mode, with the weights of its constructors.

    Args:
        config: As ``bare_config`` gives it.
        device: Where it is built; 'meta' takes no memory.
    """
    build = build_classifier if config.default_scope == 'mmpretrain' else build_from_config
    with torch.device(device), warnings.catch_warnings(), quiet_log():
        # What the toolboxes say about losses and labels concerns no training here.
        warnings.simplefilter('ignore', UserWarning)
        return build(config).eval()


def default_shape(config: Config) -> tuple[int, int]:
    """Height and width of a classifier's test images, or what the papers take for the task."""
    if config.default_scope in SHAPES:
        return SHAPES[config.default_scope]
    # The last step that cuts or resizes says what the model gets.
    for step in reversed(config.test_dataloader.dataset.pipeline):
        size = step.get('crop_size', step.get('scale'))
        if size is not None:
            # Sizes of images are (width, height).
            width, height = (size, size) if isinstance(size, int) else size
            return height, width
    return DEFAULT_SIDE, DEFAULT_SIDE


class ImagePass(nn.Module):
    """The parts of a model that see an image, in their turn, without any choice of boxes.

    Of a two-stage detector: backbone, neck, proposals, then the heads for 1000 boxes and 100 masks
    that are blank. Of a segmentor: without the auxiliary head, which only training uses.

    Args:
        model: A classifier, detector or segmentor.
        only_features: Whether to stop behind the backbone and the neck.
    """

    def __init__(self, model: nn.Module, only_features: bool = False) -> None:
        super().__init__()
        self.model: Any = model
        self.only_features = only_features

    def forward(self, images: Tensor) -> list:
        features = self.model.extract_feat(images)
        if self.only_features:
            return list(features)
        outputs = [
            getattr(self.model, name)(features)
            for name in ('head', 'rpn_head', 'bbox_head', 'decode_head')
            if getattr(self.model, name, None) is not None
        ]
        if hasattr(self.model, 'roi_head'):
            outputs += _run_region_heads(self.model.roi_head, features)
        return outputs


def _run_region_heads(roi_head: Any, features: Sequence[Tensor]) -> list:
    """Runs the heads of boxes and masks, one of each or a cascade of them, on blank regions."""
    outputs = []
    for kind, count in (('bbox', BOXES), ('mask', MASKED_BOXES)):
        if not getattr(roi_head, f'with_{kind}'):
            continue
        heads, extractors = (
            _as_list(getattr(roi_head, f'{kind}_{part}')) for part in ('head', 'roi_extractor')
        )
        for head, extractor in zip(heads, extractors, strict=True):
            size = extractor.roi_layers[0].output_size
            outputs.append(head(features[0].new_zeros(count, extractor.out_channels, *size)))
    return outputs


def _as_list(modules: nn.Module) -> list[Any]:
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]

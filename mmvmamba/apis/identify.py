"""Finds out which model a state dict belongs to."""

import torch
from mmengine.config import Config
from torch import nn

from mmvmamba.checkpoint import Converted

from .classifiers import build_classifier, model_config
from .model_table import MODEL_TABLE, ModelInfo
from .task_models import build_from_config, task_configs

__all__ = ['identify_model']


def identify_model(converted: Converted) -> str | None:
    """The first name of ``list_models`` whose model has exactly these keys and shapes.

    Args:
        converted: A checkpoint in our layout.

    Returns:
        The name; None if there is no such model.
    """
    wanted = {key: tensor.shape for key, tensor in converted.state_dict.items()}
    if 'head.fc.weight' in wanted:
        return _identify_classifier(converted, wanted)
    for name, path in task_configs().items():
        config = Config.fromfile(path)
        if any(key.startswith(f'{part}.') for key in wanted for part in _heads(config)):
            with torch.device('meta'):
                model = build_from_config(config)
            if _shapes(model) == wanted:
                return name
    return None


def _identify_classifier(converted: Converted, wanted: dict[str, torch.Size]) -> str | None:
    head = wanted['head.fc.weight']
    for row in _by_nearest_size(converted, head):
        with torch.device('meta'):
            model = build_classifier(model_config(row.name, head[0]))
        if _shapes(model) == wanted:
            return row.name
    return None


def _by_nearest_size(converted: Converted, head: torch.Size) -> list[ModelInfo]:
    """The rows of the family, in the order of the table where sizes are equal."""
    numel = sum(tensor.numel() for tensor in converted.state_dict.values())
    # The table counts heads of 1000 classes.
    numel -= (head[0] - 1000) * (head[1] + 1)
    rows = (row for row in MODEL_TABLE.values() if row.family == converted.family)
    return sorted(rows, key=lambda row: abs(row.params - numel))


def _heads(config: Config) -> list[str]:
    return [key for key in config.model if key.endswith('head')]


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in model.state_dict().items()}

"""Models by name: listed, built and loaded."""

import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmvmamba.checkpoint import load_converted
from mmvmamba.checkpoint.fitting import MisfitError
from mmvmamba.checkpoint.sources import download

from .classifiers import build_named_model, weights_of
from .identify import identify_model
from .model_table import MODEL_TABLE, find_model
from .optimization import optimize_for_inference
from .preprocess import MEAN, STD
from .pretrained import as_pretrained
from .task_models import TASK_WEIGHTS, TASKS, task_configs

if TYPE_CHECKING:
    from mmpretrain.models import ImageClassifier

__all__ = ['create_model', 'get_model', 'list_models']


def list_models(
    pattern: str | None = None, task: str | None = None, pretrained: bool | None = None
) -> list[str]:
    """Names that ``get_model`` takes.

    Args:
        pattern: Shell-like pattern, such as ``'vim*'``.
        task: 'classification', 'detection' or 'segmentation'; None for all.
        pretrained: True for models with official weights only, False for those without.
    """
    allowed = ('classification', *TASKS)
    if task is not None and task not in allowed:
        raise ValueError(f'task must be one of {list(allowed)} or None, got {task!r}')
    has_weights: dict[str, bool] = {}
    if task in (None, 'classification'):
        has_weights |= {row.name: row.weights is not None for row in MODEL_TABLE.values()}
    for other in TASKS:
        if task in (None, other):
            has_weights |= {name: name in TASK_WEIGHTS for name in task_configs(other)}
    names = [name for name, has in has_weights.items() if pretrained in (None, has)]
    return names if pattern is None else fnmatch.filter(names, pattern)


def get_model(
    name: str,
    pretrained: bool | str | Path = False,
    num_classes: int | None = None,
    device: str | torch.device | None = None,
    entry: str | None = None,
    optimize: bool = False,
    **backbone_overrides,
) -> nn.Module:
    """Builds a model, in evaluation mode.

    Args:
        name: A name of ``list_models`` or an official one.
        pretrained: True for the official weights, which are downloaded; or a file, a folder of
            Hugging Face, an address or ``hf://owner/name[/file]`` with our or official weights.
        num_classes: Number of classes; None for those of the weights, or 1000. If the weights have
            another number, the last layer starts anew.
        device: Where the model is put.
        entry: The entry of the file to take, such as 'model_ema'.
        optimize: Whether it is made ready for inference, see ``optimize_for_inference``.
        **backbone_overrides: Arguments of the backbone, such as ``drop_path_rate``.

    Returns:
        mmpretrain's ``ImageClassifier``, of which ``model(images)`` gives the logits; or a detector
        of mmdet or a segmentor of mmseg.

    Raises:
        ValueError: There is no such model or argument, or no official weights.
        CheckpointError: The weights and the model do not fit.
    """
    try:
        model = build_named_model(name, pretrained, num_classes, entry, backbone_overrides)
    except MisfitError as error:
        if isinstance(pretrained, bool):
            raise
        found = identify_model(load_converted(pretrained, entry))
        if found in (None, name):
            raise
        raise MisfitError(f'{error}. These are weights of {found!r}') from error
    model = as_pretrained(model).to(device).eval()
    return optimize_for_inference(model) if optimize else model


def create_model(
    name: str,
    pretrained: bool = False,
    checkpoint_path: str | Path = '',
    model_path: str | Path | None = None,
    num_classes: int | None = None,
    **backbone_overrides,
) -> nn.Module:
    """Builds a classifier the way the ``mambavision`` package and timm do, in training mode.

    Args:
        name: Our name or the official one, such as 'mamba_vision_T'.
        pretrained: Whether to load the official weights.
        checkpoint_path: A file to load.
        model_path: With ``pretrained``, the file where the official weights are or are put.
        num_classes: See ``get_model``.
        **backbone_overrides: Arguments of the backbone.

    Returns:
        The model of ``get_model``; ``model.forward_features(images)`` gives what its last layer
        takes, and ``model.default_cfg`` says how images are prepared.
    """
    source: bool | str | Path = checkpoint_path or pretrained
    if pretrained and not checkpoint_path and model_path is not None:
        source = Path(model_path)
        if not source.is_file():
            download(weights_of(find_model(name)), source)
    model: ImageClassifier = get_model(name, source, num_classes, **backbone_overrides)
    size = model.preprocessing.img_size
    model.num_classes = model.head.num_classes
    model.default_cfg = model.pretrained_cfg = dict(
        input_size=(3, size, size),
        crop_pct=model.preprocessing.crop_pct,
        crop_mode=model.preprocessing.crop_mode,
        interpolation='bicubic',
        mean=MEAN,
        std=STD,
        num_classes=model.num_classes,
    )
    # Unlike a bound method, this can be pickled with the model.
    model.forward_features = partial(_forward_features, model)
    return model.train()


def _forward_features(model: 'ImageClassifier', images: Tensor) -> Tensor:
    return model.extract_feat(images, stage='neck')[-1]

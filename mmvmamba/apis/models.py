"""Models by name: listed, built and loaded."""

import fnmatch
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmvmamba.checkpoint import load_converted, load_model
from mmvmamba.registry import MODELS

from .model_table import MODEL_TABLE, ModelInfo, find_model
from .preprocess import MEAN, STD, Preprocessing
from .task_models import TASK_WEIGHTS, TASKS, build_task_model, task_configs

if TYPE_CHECKING:
    from mmpretrain.models import ImageClassifier

__all__ = ['build_classifier', 'create_model', 'get_model', 'list_models', 'model_config']


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
        **backbone_overrides: Arguments of the backbone, such as ``drop_path_rate``.

    Returns:
        mmpretrain's ``ImageClassifier``, of which ``model(images)`` gives the logits; or a detector
        of mmdet or a segmentor of mmseg.

    Raises:
        ValueError: There is no such model or argument, or no official weights.
        CheckpointError: The weights and the model do not fit.
    """
    if name in task_configs():
        model = build_task_model(name, pretrained, num_classes, entry, backbone_overrides)
        return model.to(device).eval()
    info = find_model(name)
    source = _weights_of(info) if pretrained is True else pretrained or None
    weights = source and load_converted(source, entry, info.family)
    if num_classes is None and weights and 'head.fc.weight' in weights.state_dict:
        num_classes = len(weights.state_dict['head.fc.weight'])
    shipped = info.load_config()
    num_classes = 1000 if num_classes is None else num_classes
    config = _without_training(shipped, num_classes, backbone_overrides)
    model = build_classifier(config)
    if weights is None:
        with _quiet_log():
            model.init_weights()
    else:
        load_model(model, weights, new_head=True)
    model.preprocessing = _preprocessing(shipped, backbone_overrides)
    model._config, model._metainfo = config, None
    model._dataset_meta = _dataset_meta(weights.meta if weights else {}, config)
    return model.to(device).eval()


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
            address = _weights_of(find_model(name))
            source.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(source))
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


def model_config(name: str, num_classes: int = 1000, **backbone_overrides) -> Config:
    """The config of a classifier: the model, its preprocessing and its test pipeline.

    It is the shipped config of the model without all that only a training needs.

    Args:
        name: See ``get_model``.
        num_classes: Number of classes.
        **backbone_overrides: Arguments of the backbone.
    """
    return _without_training(find_model(name).load_config(), num_classes, backbone_overrides)


def _without_training(shipped: Config, num_classes: int, backbone_overrides: dict) -> Config:
    model = dict(
        type='ImageClassifier',
        backbone=_backbone_config(shipped.model.backbone, backbone_overrides),
        neck=shipped.model.get('neck'),
        head=dict(shipped.model.head, num_classes=num_classes),
    )
    model['head'].pop('loss', None)
    if 'arch' in backbone_overrides:
        _fit_channels(model)
    pipeline = _preprocessing(shipped, backbone_overrides).pipeline()
    return Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            data_preprocessor=dict(shipped.data_preprocessor, num_classes=num_classes),
            test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=pipeline)),
        )
    )


def _backbone_config(shipped: dict, overrides: dict) -> dict:
    cls = MODELS.get(shipped['type'])
    allowed = [key for key in inspect.signature(cls.__init__).parameters if key != 'self']
    unknown = sorted(set(overrides) - set(allowed))
    if unknown:
        raise ValueError(f'{cls.__name__} takes the arguments {allowed}, got {unknown}')
    kept = {key: value for key, value in shipped.items() if key not in cls.start_settings}
    return {**kept, **overrides}


def _fit_channels(model: dict) -> None:
    """Has neck and head take what a backbone of another arch puts out."""
    with torch.device('meta'):
        channels = MODELS.build(model['backbone']).num_features
        if 'in_channels' in (model['neck'] or {}):
            model['neck'] = dict(model['neck'], in_channels=channels)
            channels = MODELS.build(model['neck']).out_channels
    model['head']['in_channels'] = channels


def _weights_of(info: ModelInfo) -> str:
    if info.weights is None:
        raise ValueError(f'there are no official weights of {info.name}; give a file')
    return info.weights


def build_classifier(config: Config) -> 'ImageClassifier':
    """The classifier of a config of ``model_config``."""
    try:
        from mmpretrain.registry import MODELS as CLASSIFIERS
    except ImportError as error:
        raise ImportError(
            'classifiers are models of mmpretrain: pip install "mmvmamba[openmmlab]"'
        ) from error
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return CLASSIFIERS.build(
            dict(config.model, data_preprocessor=config.get('data_preprocessor'))
        )


def _preprocessing(shipped: Config, backbone_overrides: dict) -> Preprocessing:
    preprocessing = Preprocessing.from_pipeline(shipped.test_dataloader.dataset.pipeline)
    size = backbone_overrides.get('img_size', preprocessing.img_size)
    return replace(preprocessing, img_size=size if isinstance(size, int) else max(size))


def _dataset_meta(meta: dict, config: Config) -> dict:
    """Names of the classes: those of the file, or ImageNet's for 1000 classes."""
    if 'dataset_meta' in meta:
        return meta['dataset_meta']
    if 'CLASSES' in meta:
        return dict(classes=meta['CLASSES'])
    if config.model.head.num_classes != 1000:
        return {}
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    return dict(classes=IMAGENET_CATEGORIES)


def _forward_features(model: 'ImageClassifier', images: Tensor) -> Tensor:
    return model.extract_feat(images, stage='neck')[-1]


@contextmanager
def _quiet_log() -> Iterator[None]:
    """mmengine logs every parameter it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)

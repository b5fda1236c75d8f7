"""Classifiers built from the shipped configs, and any model built and loaded by its name."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn

from mmvmamba.checkpoint import load_converted, load_model
from mmvmamba.registry import MODELS

from .model_table import ModelInfo, find_model
from .preprocess import Preprocessing
from .provenance import mark_official
from .task_models import build_task_model, task_configs

if TYPE_CHECKING:
    from mmpretrain.models import ImageClassifier

__all__ = [
    'build_classifier',
    'build_named_model',
    'check_class_count',
    'check_overrides',
    'class_names',
    'model_config',
    'quiet_log',
    'weights_of',
]


def build_named_model(
    name: str,
    pretrained: bool | str | Path,
    num_classes: int | None,
    entry: str | None,
    backbone_overrides: dict,
) -> nn.Module:
    """Builds a model of the toolboxes; see ``get_model``."""
    check_class_count(num_classes)
    if name in task_configs():
        return build_task_model(name, pretrained, num_classes, entry, backbone_overrides)
    info = find_model(name)
    source = weights_of(info) if pretrained is True else pretrained or None
    weights = source and load_converted(source, entry, info.family)
    head = weights.state_dict.get('head.fc.weight') if weights else None
    if num_classes is None and head is not None:
        num_classes = len(head)
    shipped = info.load_config()
    num_classes = 1000 if num_classes is None else num_classes
    config = _without_training(shipped, num_classes, backbone_overrides)
    model = build_classifier(config)
    if weights is None:
        with quiet_log():
            model.init_weights()
    else:
        load_model(model, weights, new_head=True)
    model.preprocessing = _preprocessing(shipped, backbone_overrides)
    model._config, model._metainfo = config, None
    model._dataset_meta = _dataset_meta(weights.meta if weights else {}, config)
    model.model_name = None if backbone_overrides else info.name
    model.has_new_head = head is None or len(head) != num_classes
    # A file in the authors' layout may be of anybody who trained with their code.
    mark_official(model, pretrained is True)
    return model


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
    check_overrides(shipped, overrides)
    cls = MODELS.get(shipped['type'])
    kept = {key: value for key, value in shipped.items() if key not in cls.start_settings}
    return {**kept, **overrides}


def check_class_count(num_classes: int | None) -> None:
    if num_classes is not None and not (isinstance(num_classes, int) and num_classes > 0):
        raise ValueError(f'num_classes must be a positive integer or None, got {num_classes!r}')


def check_overrides(backbone: dict, overrides: dict) -> None:
    """Refuses arguments that a backbone does not take."""
    cls = MODELS.get(backbone['type'])
    allowed = [key for key in inspect.signature(cls.__init__).parameters if key != 'self']
    unknown = sorted(set(overrides) - set(allowed))
    if unknown:
        raise ValueError(f'{cls.__name__} takes the arguments {allowed}, got {unknown}')


def _fit_channels(model: dict) -> None:
    """Has neck and head take what a backbone of another arch puts out."""
    with torch.device('meta'):
        channels = MODELS.build(model['backbone']).num_features
        if 'in_channels' in (model['neck'] or {}):
            model['neck'] = dict(model['neck'], in_channels=channels)
            channels = MODELS.build(model['neck']).out_channels
    model['head']['in_channels'] = channels


def weights_of(info: ModelInfo) -> str:
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
    classes = class_names(config.model.head.num_classes)
    return {} if classes is None else dict(classes=classes)


def class_names(count: int) -> list[str] | None:
    """ImageNet's names for 1000 classes; others are not known."""
    if count != 1000:
        return None
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    return list(IMAGENET_CATEGORIES)


@contextmanager
def quiet_log() -> Iterator[None]:
    """mmengine logs every parameter it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)

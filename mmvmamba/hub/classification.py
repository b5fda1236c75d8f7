"""mmpretrain's inferencer and its hub of models with our classifiers."""

from functools import cache
from pathlib import Path
from typing import TypeGuard

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmvmamba.apis.classifiers import build_classifier
from mmvmamba.apis.metafiles import config_root
from mmvmamba.apis.model_table import find_model
from mmvmamba.apis.models import get_model, list_models
from mmvmamba.checkpoint import load_converted, load_model
from mmvmamba.compat import require

require('mmpretrain')

import mmpretrain  # noqa: E402  require says in one sentence what is missing
from mmpretrain.apis import ModelHub  # noqa: E402
from mmpretrain.models import ImageClassifier  # noqa: E402

__all__ = ['ImageClassificationInferencer', 'classifier_of_config', 'register_models']

SCOPE = 'mmpretrain'


@cache
def register_models() -> None:
    """Adds our classifiers to mmpretrain's ``get_model`` and ``list_models``; may be repeated."""
    folder = config_root()
    ModelHub.register_model_index(folder / 'cls' / 'metafile.yml', config_prefix=folder.parent)


class ImageClassificationInferencer(mmpretrain.ImageClassificationInferencer):
    """mmpretrain's inferencer that takes our names and loads our models strictly.

    The default scope of mmengine is set while it works and is left as it was, so that inferencers
    of several toolboxes work in one process, in any order.

    Args:
        model: A name of ``mmvmamba.list_models``, an official one or one of mmpretrain; a config or
            the path of one; or a model.
        pretrained: True for the official weights; or those that ``mmvmamba.get_model`` takes.
        device: Where the model is put.
        classes: Names of the classes; None for those of the weights.
        **kwargs: Arguments of the backbone for a name of ours; for others see mmpretrain's.
    """

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        pretrained: bool | str = True,
        device: str | torch.device | None = None,
        classes: list[str] | None = None,
        **kwargs,
    ) -> None:
        with DefaultScope.overwrite_default_scope(SCOPE):
            if _is_our_name(model):
                model = get_model(model, pretrained, device=device, **kwargs)
                pretrained, kwargs = False, {}
            elif (config := _our_config(model)) is not None:
                model = classifier_of_config(config, pretrained)
                pretrained = False
            super().__init__(model, pretrained, device=device, classes=classes, **kwargs)

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """The names of classifiers, of mmpretrain and ours, that match a shell-like pattern."""
        theirs = mmpretrain.ImageClassificationInferencer.list_models(pattern)
        return sorted({*theirs, *list_models(pattern, 'classification')})

    def __call__(self, *args, **kwargs) -> list[dict]:
        with DefaultScope.overwrite_default_scope(SCOPE):
            return super().__call__(*args, **kwargs)


def classifier_of_config(config: Config, weights: bool | str | Path) -> ImageClassifier:
    """Builds a classifier of a config of ours and loads it strictly.

    Args:
        config: The config; its ``load_from`` names the weights if ``weights`` is True.
        weights: A file; True for ``load_from``; False for random ones.
    """
    # The weights are those of the whole model.
    config.model.backbone.pop('init_cfg', None)
    model = build_classifier(config)
    source = config.get('load_from') if weights is True else weights
    meta: dict = {}
    if source:
        converted = load_converted(source)
        load_model(model, converted)
        meta = converted.meta
    model._config, model._metainfo = config, None
    model._dataset_meta = meta.get('dataset_meta', {})
    return model


def _is_our_name(model: object) -> TypeGuard[str]:
    """Tells our names from others.

    Raises:
        ValueError: Neither we nor mmpretrain have a model of that name.
    """
    if not isinstance(model, str) or model.endswith('.py'):
        return False
    try:
        find_model(model)
    except ValueError as error:
        if model.lower() in mmpretrain.list_models():
            return False
        raise ValueError(f'{error} mmpretrain has none of that name either.') from None
    return True


def _our_config(model: object) -> Config | None:
    """The config, if that is what is given and its backbone is one of ours."""
    if isinstance(model, str | Path) and str(model).endswith('.py'):
        model = Config.fromfile(model)
    if not isinstance(model, Config):
        return None
    is_ours = str(model.model.get('backbone', {}).get('type', '')).startswith('mmvmamba.')
    return Config(model.to_dict(), filename=model.filename) if is_ours else None

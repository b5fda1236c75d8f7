"""Vision-Mamba backbones for classification, detection and segmentation from config files."""

import importlib
import types

from .compat import prepare_stack
from .hub.checkpoint_schemes import register_schemes
from .hub.late_import import when_imported
from .version import __version__

prepare_stack()

from . import datasets  # noqa: E402  prepare_stack says in one sentence if mmengine is missing

__all__ = [
    '__version__',
    'classify',
    'create_model',
    'datasets',
    'get_feature_extractor',
    'get_model',
    'list_models',
]


def __getattr__(name: str) -> object:
    # The functions of mmvmamba.apis, without the cost of importing the models now.
    if name in __all__:
        return getattr(importlib.import_module('mmvmamba.apis'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _add_models_to_mmpretrain(hub_module: types.ModuleType) -> None:
    from .hub.mmpretrain_hub import register_models

    register_models(hub_module)


def _add_models_to_mmdet(module: types.ModuleType) -> None:
    from .hub.inferencers import take_our_models

    take_our_models(module.DetInferencer, 'detection')


def _add_models_to_mmseg(module: types.ModuleType) -> None:
    from .hub.inferencers import take_our_models

    take_our_models(module.MMSegInferencer, 'segmentation')


when_imported('mmengine.runner.checkpoint', register_schemes)
when_imported('mmpretrain.apis.model', _add_models_to_mmpretrain)
when_imported('mmdet.apis.det_inferencer', _add_models_to_mmdet)
when_imported('mmseg.apis.mmseg_inferencer', _add_models_to_mmseg)

"""Vision-Mamba backbones for classification, detection and segmentation from config files."""

import importlib
from typing import Any

from .compat import prepare_stack
from .compat.late_import import when_imported
from .hub.checkpoint_schemes import register_schemes
from .version import __version__

prepare_stack()

from . import datasets  # noqa: E402  prepare_stack says in one sentence if mmengine is missing

__all__ = [
    'DetInferencer',
    'ImageClassificationInferencer',
    'MMSegInferencer',
    '__version__',
    'classify',
    'create_model',
    'datasets',
    'get_feature_extractor',
    'get_model',
    'list_models',
    'register_models',
]

# Where a public name comes from once it is asked for, unless from mmvmamba.apis: importing mmvmamba
# imports neither the models nor a toolbox.
_HOMES = {
    'DetInferencer': 'mmvmamba.hub.detection',
    'ImageClassificationInferencer': 'mmvmamba.hub.classification',
    'MMSegInferencer': 'mmvmamba.hub.segmentation',
    'register_models': 'mmvmamba.hub.classification',
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_HOMES.get(name, 'mmvmamba.apis')), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


when_imported('mmengine.runner.checkpoint', register_schemes)

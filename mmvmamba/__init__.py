"""Vision-Mamba backbones for classification, detection and segmentation from config files."""

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .cpus import share_cpus

# Before torch is imported, as it is by what follows.
share_cpus()

from .compat import prepare_stack  # noqa: E402
from .compat.late_import import when_imported  # noqa: E402
from .hub.checkpoint_schemes import register_schemes  # noqa: E402
from .hub.transformers_classes import follow_transformers  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = [
    'DetInferencer',
    'ImageClassificationInferencer',
    'MMSegInferencer',
    'PretrainedModel',
    '__version__',
    'classify',
    'create_model',
    'datasets',
    'export',
    'get_feature_extractor',
    'get_model',
    'graphed',
    'list_models',
    'optimize_for_inference',
    'register_models',
]

# Where a public name comes from once it is asked for, unless from mmvmamba.apis: importing mmvmamba
# imports neither the models nor a toolbox.
_HOMES = {
    'DetInferencer': 'mmvmamba.hub.detection',
    'ImageClassificationInferencer': 'mmvmamba.hub.classification',
    'MMSegInferencer': 'mmvmamba.hub.segmentation',
    'export': 'mmvmamba.deploy',
    'register_models': 'mmvmamba.hub.classification',
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_HOMES.get(name, 'mmvmamba.apis')), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _prepare(mmengine: ModuleType | None = None) -> None:
    # First, for it says in one sentence if mmengine is missing.
    prepare_stack()
    importlib.import_module('mmvmamba.datasets')


def _is_command() -> bool:
    """Whether this process is ``mmvmamba`` or ``python -m mmvmamba``."""
    called = ('-m', 'mmvmamba') in itertools.pairwise(sys.orig_argv)
    return called or Path(sys.argv[0]).stem == 'mmvmamba'


if _is_command():
    # Its help is there at once and without mmengine; whatever runs a model imports mmengine.
    when_imported('mmengine', _prepare)
else:
    _prepare()
when_imported('mmengine.runner.checkpoint', register_schemes)
follow_transformers()

"""Has mmpretrain leave out its multimodal models where transformers cannot serve them.

mmpretrain 1.2 imports names from ``transformers.modeling_utils`` that moved away in transformers
4.50 to 5. It looks only at the lowest version it needs, and where a name is missing, its BLIP
inherits from ``None``, so that no model of mmpretrain, mmdet or mmseg can be imported. mmpretrain
has a switch for a machine without transformers, ``mmpretrain.utils.dependency.WITH_MULTIMODAL``,
which is turned off as soon as that module is loaded. Nothing is decided, and transformers is not
imported, before mmpretrain itself asks.
"""

import importlib
import types

from .late_import import when_imported

__all__ = ['fit_multimodal', 'missing_names']

SWITCH_MODULE = 'mmpretrain.utils.dependency'
SWITCH = 'WITH_MULTIMODAL'
NEEDED_NAMES = (
    'GenerationConfig',
    'GenerationMixin',
    'PreTrainedModel',
    'PretrainedConfig',
    'apply_chunking_to_forward',
    'find_pruneable_heads_and_indices',
    'prune_linear_layer',
)


def missing_names() -> list[str]:
    """Lists what mmpretrain's multimodal models need of ``transformers`` and do not find there."""
    try:
        module = importlib.import_module('transformers.modeling_utils')
    except ImportError:
        return list(NEEDED_NAMES)
    return [name for name in NEEDED_NAMES if not hasattr(module, name)]


def _switch(module: types.ModuleType) -> None:
    if getattr(module, SWITCH, False) and missing_names():
        setattr(module, SWITCH, False)


def fit_multimodal() -> None:
    """Lets ``import mmpretrain`` succeed with every version of transformers; may be repeated."""
    # mmpretrain imports its models later than this module.
    when_imported(SWITCH_MODULE, _switch)

# A key map registers itself when it is imported: a new one is one more name here.
from . import (  # noqa: F401
    mambaout,
    mambavision,
    mila,
    plain_mamba,
    spatial_mamba,
    vim,
    vit,
    vmamba,
)
from .convert import Converted, convert
from .family import FAMILIES
from .initializer import PretrainedBackbone
from .loading import (
    fit_model,
    load_backbone,
    load_converted,
    load_model,
    state_dict_of_run,
)
from .publish import plain_meta, save_published, weights_to_publish
from .safe_load import CheckpointError, check_whole, read_checkpoint
from .schemes import load_from_any
from .sources import locate

__all__ = [
    'FAMILIES',
    'CheckpointError',
    'Converted',
    'PretrainedBackbone',
    'check_whole',
    'convert',
    'fit_model',
    'load_backbone',
    'load_converted',
    'load_from_any',
    'load_model',
    'locate',
    'plain_meta',
    'read_checkpoint',
    'save_published',
    'state_dict_of_run',
    'weights_to_publish',
]

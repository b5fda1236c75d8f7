from .convert import FAMILIES, Converted, convert
from .loading import (
    fit_state_dict,
    load_backbone,
    load_converted,
    load_model,
    split_init_cfg,
)
from .publish import plain_meta, save_published, weights_to_publish
from .resize import fit_position_table
from .safe_load import CheckpointError, read_checkpoint
from .schemes import register_schemes
from .sources import locate

__all__ = [
    'FAMILIES',
    'CheckpointError',
    'Converted',
    'convert',
    'fit_position_table',
    'fit_state_dict',
    'load_backbone',
    'load_converted',
    'load_model',
    'locate',
    'plain_meta',
    'read_checkpoint',
    'register_schemes',
    'save_published',
    'split_init_cfg',
    'weights_to_publish',
]

register_schemes()

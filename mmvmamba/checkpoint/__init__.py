from .convert import FAMILIES, Converted, convert
from .initializer import PretrainedBackbone
from .loading import (
    check_resumable,
    fit_model,
    load_backbone,
    load_converted,
    load_model,
    unwrapped,
)
from .publish import plain_meta, save_published, weights_to_publish
from .safe_load import CheckpointError, read_checkpoint
from .schemes import load_from_any
from .sources import locate

__all__ = [
    'FAMILIES',
    'CheckpointError',
    'Converted',
    'PretrainedBackbone',
    'check_resumable',
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
    'unwrapped',
    'weights_to_publish',
]

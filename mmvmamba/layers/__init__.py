from .attention import Attention
from .drop_path import drop_path, drop_path_rates
from .layer_scale import layer_scale_parameter
from .mlp import MLP
from .norm import LayerNorm2d, build_norm2d
from .position_embedding import (
    CLASS_TOKENS,
    RESIZE_RULES,
    class_token_places,
    fit_position_table,
    insert_tokens,
    remove_tokens,
    resize_position_embedding,
    resize_position_grid,
)
from .ssm import init_dt_proj_, initial_A_log, resolve_dt_rank

__all__ = [
    'CLASS_TOKENS',
    'MLP',
    'RESIZE_RULES',
    'Attention',
    'LayerNorm2d',
    'build_norm2d',
    'class_token_places',
    'drop_path',
    'drop_path_rates',
    'fit_position_table',
    'init_dt_proj_',
    'initial_A_log',
    'insert_tokens',
    'layer_scale_parameter',
    'remove_tokens',
    'resize_position_embedding',
    'resize_position_grid',
    'resolve_dt_rank',
]

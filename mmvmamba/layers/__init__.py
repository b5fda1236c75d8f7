from .attention import Attention
from .channels_last import add_convolved, conv_channels_last
from .conv_stem import ConvLayer, ExpandedDownsample, ResidualConvStem
from .drop_path import drop_path, drop_path_rates
from .layer_scale import layer_scale_parameter
from .mlp import MLP
from .norm import LayerNorm2d, build_norm2d
from .padding import pad_to_multiple
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
from .read_linear import ReadLinear
from .rotation import rotate_pairs
from .ssm import init_dt_proj_, initial_A_log, resolve_dt_rank, state_matrix
from .tokens import laid_out, map_to_tokens, settled, tokens_to_map

__all__ = [
    'CLASS_TOKENS',
    'MLP',
    'RESIZE_RULES',
    'Attention',
    'ConvLayer',
    'ExpandedDownsample',
    'LayerNorm2d',
    'ReadLinear',
    'ResidualConvStem',
    'add_convolved',
    'build_norm2d',
    'class_token_places',
    'conv_channels_last',
    'drop_path',
    'drop_path_rates',
    'fit_position_table',
    'init_dt_proj_',
    'initial_A_log',
    'insert_tokens',
    'laid_out',
    'layer_scale_parameter',
    'map_to_tokens',
    'pad_to_multiple',
    'remove_tokens',
    'resize_position_embedding',
    'resize_position_grid',
    'resolve_dt_rank',
    'rotate_pairs',
    'settled',
    'state_matrix',
    'tokens_to_map',
]

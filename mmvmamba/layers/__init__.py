from .attention import Attention
from .drop_path import drop_path, drop_path_rates
from .mlp import MLP
from .norm import LayerNorm2d, build_norm2d
from .position_embedding import resize_position_grid
from .ssm import init_dt_proj_, initial_A_log, resolve_dt_rank

__all__ = [
    'MLP',
    'Attention',
    'LayerNorm2d',
    'build_norm2d',
    'drop_path',
    'drop_path_rates',
    'init_dt_proj_',
    'initial_A_log',
    'resize_position_grid',
    'resolve_dt_rank',
]

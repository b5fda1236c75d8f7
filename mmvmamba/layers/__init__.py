from .drop_path import drop_path, drop_path_rates
from .norm import LayerNorm2d

__all__ = ['LayerNorm2d', 'drop_path', 'drop_path_rates']

from .plain_mamba_adapter import PlainMambaAdapter
from .pyramid_adapter import PyramidAdapter
from .vim_adapter import VimAdapter

__all__ = ['PlainMambaAdapter', 'PyramidAdapter', 'VimAdapter']

from .plain_mamba_adapter import PlainMambaAdapter
from .pyramid_adapter import AdapterSettings, PyramidAdapter
from .vim_adapter import VimAdapter

__all__ = ['AdapterSettings', 'PlainMambaAdapter', 'PyramidAdapter', 'VimAdapter']

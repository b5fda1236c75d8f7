from .plain_mamba_adapter import PlainMambaAdapter
from .pyramid_adapter import PyramidAdapter

__all__ = ['PlainMambaAdapter', 'PyramidAdapter']

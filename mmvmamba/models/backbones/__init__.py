from .base import BaseBackbone
from .mambavision import MambaVision
from .plain_mamba import PlainMamba

__all__ = ['BaseBackbone', 'MambaVision', 'PlainMamba']

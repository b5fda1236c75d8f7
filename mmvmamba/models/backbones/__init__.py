from .base import BaseBackbone
from .mambaout import MambaOut
from .mambavision import MambaVision
from .plain_mamba import PlainMamba

__all__ = ['BaseBackbone', 'MambaOut', 'MambaVision', 'PlainMamba']

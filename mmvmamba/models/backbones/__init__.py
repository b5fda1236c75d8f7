from .base import BaseBackbone
from .plain_mamba import PlainMamba

__all__ = ['BaseBackbone', 'PlainMamba']

from . import adapters, backbones, necks
from .ema import SteppedEMA

__all__ = ['SteppedEMA', 'adapters', 'backbones', 'necks']

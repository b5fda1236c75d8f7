from . import backbones

__all__ = ['backbones']

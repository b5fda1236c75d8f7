from . import adapters, backbones

__all__ = ['adapters', 'backbones']

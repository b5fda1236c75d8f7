from . import adapters, backbones, necks

__all__ = ['adapters', 'backbones', 'necks']

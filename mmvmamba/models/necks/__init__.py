from .mambaout_neck import MambaOutNeck

__all__ = ['MambaOutNeck']

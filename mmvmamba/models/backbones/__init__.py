from .base import BaseBackbone
from .mambaout import MambaOut
from .mambaout_neck import MambaOutNeck
from .mambavision import MambaVision
from .plain_mamba import PlainMamba
from .vim import VisionMamba
from .vit_causal import VisionTransformerCausal

__all__ = [
    'BaseBackbone',
    'MambaOut',
    'MambaOutNeck',
    'MambaVision',
    'PlainMamba',
    'VisionMamba',
    'VisionTransformerCausal',
]

from .base import BaseBackbone
from .mambaout import MambaOut
from .mambaout_neck import MambaOutNeck
from .mambavision import MambaVision
from .mila import MILA
from .plain_mamba import PlainMamba
from .pyramid import PyramidBackbone
from .spatial_mamba import SpatialMamba
from .vim import VisionMamba
from .vit_causal import VisionTransformerCausal
from .vmamba import VMamba

__all__ = [
    'MILA',
    'BaseBackbone',
    'MambaOut',
    'MambaOutNeck',
    'MambaVision',
    'PlainMamba',
    'PyramidBackbone',
    'SpatialMamba',
    'VMamba',
    'VisionMamba',
    'VisionTransformerCausal',
]

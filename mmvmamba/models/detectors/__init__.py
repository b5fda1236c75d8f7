from .box_tta import BoxTTAModel
from .roi_extractor import ScaledGradientRoIExtractor

__all__ = ['BoxTTAModel', 'ScaledGradientRoIExtractor']

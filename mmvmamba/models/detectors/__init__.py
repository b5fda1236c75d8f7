from .roi_extractor import ScaledGradientRoIExtractor

__all__ = ['ScaledGradientRoIExtractor']

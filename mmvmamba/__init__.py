"""Vision-Mamba backbones for classification, detection and segmentation, in the OpenMMLab manner."""

from .version import __version__

__all__ = ['__version__']

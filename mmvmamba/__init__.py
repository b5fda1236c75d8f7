"""Vision-Mamba backbones for classification, detection and segmentation from config files."""

from .compat import prepare_stack
from .version import __version__

__all__ = ['__version__']

prepare_stack()

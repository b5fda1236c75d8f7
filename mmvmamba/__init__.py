"""Vision-Mamba backbones for classification, detection and segmentation from config files."""

from . import datasets
from .compat import prepare_stack
from .version import __version__

__all__ = ['__version__', 'datasets']

prepare_stack()

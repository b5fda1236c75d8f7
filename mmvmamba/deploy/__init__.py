from .exporting import Exported, export
from .formats import FORMATS

__all__ = ['FORMATS', 'Exported', 'export']

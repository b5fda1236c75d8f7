"""A training on a folder of a user's own images: ``mmvmamba train --data DIR --model NAME``."""

from .layouts import recognise
from .writing import write_config

__all__ = ['recognise', 'write_config']

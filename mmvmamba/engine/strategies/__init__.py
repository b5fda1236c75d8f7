"""How a model is spread over processes, for `FlexibleRunner`."""

from .ddp import DDPStrategy
from .fsdp import FSDPStrategy

__all__ = ['DDPStrategy', 'FSDPStrategy']

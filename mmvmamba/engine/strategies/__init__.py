"""How a model is spread over processes, for `FlexibleRunner`."""

from .ddp import DDPStrategy
from .fsdp import FSDPStrategy
from .zero import DeepSpeedStrategy

__all__ = ['DDPStrategy', 'DeepSpeedStrategy', 'FSDPStrategy']

"""Averages of weights whose momentum changes during training."""

from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from mmvmamba.registry import MODELS

__all__ = ['SteppedEMA']


@MODELS.register_module()
class SteppedEMA(ExponentialMovingAverage):
    """An exponential moving average that follows faster from some update on.

    Args:
        model: The model.
        momentum: Weight of the newest parameters.
        milestone: Number of updates after which the momentum is multiplied by ``factor``.
        factor: See ``milestone``.
        interval: Updates are made every so many steps.
        device: Where the average is kept.
        update_buffers: Whether buffers, such as BatchNorm's statistics, are averaged too.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        milestone: int = 0,
        factor: float = 1.0,
        interval: int = 1,
        device: str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, momentum, interval, device, update_buffers)
        self.milestone, self.factor = milestone, factor

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        momentum = self.momentum * (self.factor if steps >= self.milestone else 1.0)
        averaged_param.lerp_(source_param.to(averaged_param.dtype), momentum)

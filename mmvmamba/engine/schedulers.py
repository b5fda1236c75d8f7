"""The learning rate of image classification: a cosine, its start cut out by a warm-up."""

import math

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from torch.optim import Optimizer

from mmvmamba.registry import PARAM_SCHEDULERS

__all__ = ['WarmupCosineLR', 'warmup_cosine']


def warmup_cosine(
    step: int, length: float, warmup: float, start: float, minimum: float, is_factor: bool
) -> float:
    """The learning rate by its peak.

    The cosine begins at step 0, not after the warm-up, and stays at the minimum after its end.

    Args:
        step: Number of the step, from 0.
        length: Steps of the cosine.
        warmup: Steps of the warm-up.
        start: Value at step 0, or its factor.
        minimum: Value at the end.
        is_factor: Whether the warm-up multiplies the cosine by a line from ``start`` to 1, or goes
            in a line from ``start`` to the peak.
    """
    progress = min(step / length, 1.0)
    cosine = minimum + (1 - minimum) * (1 + math.cos(math.pi * progress)) / 2
    if step >= warmup:
        return cosine
    line = start + (1 - start) * step / warmup
    return cosine * line if is_factor else line


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Cosine from the first step on, of which a linear warm-up replaces or damps the start.

    mmengine's schedulers put the cosine after the warm-up. Those of timm and mmcv 1.x, which all
    official models were trained with, do not. Values are ratios to the learning rate of the
    optimizer, so that they hold for any batch size.

    Args:
        optimizer: Optimizer or its wrapper.
        length: Epochs (or steps, if not ``by_epoch``) of the cosine; it stays at its end after.
        warmup: Epochs (or steps) of the warm-up.
        start_ratio: Where the warm-up begins.
        min_ratio: Where the cosine ends.
        warmup_is_factor: Whether the warm-up multiplies the cosine (mmcv 1.x), not replaces it.
        shift: Steps by which the schedule runs ahead; -1 repeats the first value once.
        begin: First step.
        end: Last step.
        last_step: Step of a resumed run.
        by_epoch: Whether a step is an epoch.
        verbose: Whether to print each value.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        length: float,
        warmup: float = 0,
        start_ratio: float = 0.0,
        min_ratio: float = 0.0,
        warmup_is_factor: bool = False,
        shift: int = 0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if length <= 0 or not 0 <= warmup <= length:
            raise ValueError(f'0 <= warmup <= length is needed, got {warmup} and {length}')
        self.length, self.warmup = length, warmup
        self.start_ratio, self.min_ratio = start_ratio, min_ratio
        self.warmup_is_factor = warmup_is_factor
        self.shift = shift
        super().__init__(
            optimizer,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Optimizer,
        *,
        length: float,
        warmup: float = 0,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **settings,
    ) -> 'WarmupCosineLR':
        """Builds a scheduler that is stepped by iterations from lengths in epochs."""
        if not by_epoch or not epoch_length:
            raise ValueError('convert_to_iter_based needs by_epoch=True and a known epoch length')
        return cls(
            optimizer,
            length=length * epoch_length,
            warmup=warmup * epoch_length,
            begin=begin * epoch_length,
            end=end if end == INF else end * epoch_length,
            by_epoch=False,
            **settings,
        )

    def _get_value(self) -> list[float]:
        ratio = warmup_cosine(
            max(self.last_step + self.shift, 0),
            self.length,
            self.warmup,
            self.start_ratio,
            self.min_ratio,
            self.warmup_is_factor,
        )
        return [value * ratio for value in self.base_values]

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmvmamba.registry import HOOKS

__all__ = ['MesaEMAHook']


@HOOKS.register_module()
class MesaEMAHook(EMAHook):
    """mmengine's ``EMAHook`` that makes the average the teacher of a ``MesaClassifier``.

    Args:
        start_epoch: First epoch with a teacher.
        ema_type: See mmengine's ``EMAHook``.
        momentum: Weight of the newest parameters in the average.
        update_buffers: Whether BatchNorm's statistics are averaged too.
    """

    def __init__(
        self,
        start_epoch: int,
        ema_type: str = 'ExponentialMovingAverage',
        momentum: float = 0.0002,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(ema_type, momentum=momentum, update_buffers=update_buffers)
        self.start_epoch = start_epoch

    def before_train_epoch(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.set_teacher(self.ema_model.module if runner.epoch >= self.start_epoch else None)

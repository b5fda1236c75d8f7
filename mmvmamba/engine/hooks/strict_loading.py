from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmvmamba.checkpoint import CheckpointError, state_dict_of_run
from mmvmamba.registry import HOOKS

__all__ = ['StrictLoadingHook']


@HOOKS.register_module()
class StrictLoadingHook(Hook):
    """Has a runner load checkpoints as strictly as ``get_model`` does.

    mmengine warns of keys that do not fit, and trains or tests with what it has.

    Args:
        source: Name of the file, for messages.
        resume: Whether the run goes on from it, for which it must be one of the same model.
        allow_partial: Whether whatever does not fit is left as it is.
    """

    # Before EMAHook, which loads the average from the same state dict.
    priority = 'VERY_HIGH'

    def __init__(self, source: str, resume: bool = False, allow_partial: bool = False) -> None:
        self.source, self.resume, self.allow_partial = source, resume, allow_partial

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['state_dict'] = state_dict_of_run(
            runner.model,
            checkpoint,
            self.source,
            resume=self.resume,
            allow_partial=self.allow_partial,
        )
        if self.resume:
            _check_optimizer(runner, checkpoint, self.source)


def _check_optimizer(runner: Runner, checkpoint: dict, source: str) -> None:
    wrapper = runner.optim_wrapper
    if 'optimizer' not in checkpoint or not isinstance(wrapper, OptimWrapper):
        return
    then, now = (
        [len(group['params']) for group in groups]
        for groups in (checkpoint['optimizer']['param_groups'], wrapper.optimizer.param_groups)
    )
    # One that joins parameters remembers how many there were.
    now = getattr(wrapper, 'group_sizes', now)
    if then != now:
        raise CheckpointError(
            f'{source} is of a run with other settings of the optimizer: {len(then)} groups of '
            f'{sum(then)} parameters in all, {len(now)} of {sum(now)} in this config. Resume with '
            'the config of that run, or start from its weights with load_from'
        )

"""What each process has for itself, which the checkpoint of the first would lose.

That is the statistics of BatchNorm layers in a distributed run, and the gradients of the steps
since the last update where several make one.
"""

from collections.abc import Iterator

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from .sharded import local_part, part_like

__all__ = ['RankStateHook']

KEY = 'rank_states'
State = dict[str, dict[str, Tensor]]


class RankStateHook(Hook):
    """Saves and restores what processes do not share.

    ``gather`` is called in all processes before the first of them writes a checkpoint.
    """

    # After the weights themselves are in place, before the hooks that work with them.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._states: list[State] = []

    def gather(self, runner: Runner) -> None:
        """Collects the states of all processes."""
        state: State = dict(statistics={}, gradients={})
        if get_world_size() > 1:
            state['statistics'] = {name: b.cpu() for name, b in _statistics(runner)}
        if not _is_updated(runner.optim_wrapper):
            state['gradients'] = {
                name: local_part(parameter.grad).cpu()
                for name, parameter in _model(runner).named_parameters()
                if parameter.grad is not None
            }
        self._states = all_gather_object(state) if get_world_size() > 1 else [state]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the states to the checkpoint, unless there is nothing in them."""
        if any(part for state in self._states for part in state.values()):
            checkpoint[KEY] = self._states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keeps the states of a run that is resumed until its weights are in place."""
        self._states = checkpoint.pop(KEY, [])

    def before_train(self, runner: Runner) -> None:
        """Restores the state of this process."""
        states, self._states = self._states, []
        if not states or not runner.iter:
            return
        if len(states) != get_world_size():
            runner.logger.warning(
                f'the checkpoint is of {len(states)} processes and this run has '
                f'{get_world_size()}: BatchNorm statistics of the first are taken, and gradients '
                'of steps since the last update are lost'
            )
            return
        state = states[get_rank()]
        with torch.no_grad():
            for name, buffer in _statistics(runner):
                if name in state['statistics']:
                    buffer.copy_(state['statistics'][name])
        for name, parameter in _model(runner).named_parameters():
            if name in state['gradients']:
                grad = state['gradients'][name].to(parameter.device, copy=True)
                parameter.grad = part_like(grad, parameter)


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _statistics(runner: Runner) -> Iterator[tuple[str, Tensor]]:
    """Buffers of BatchNorm layers, of the model and of its averages."""
    models = [_model(runner)]
    models += [hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model')]
    for number, model in enumerate(models):
        for path, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                for name, buffer in module.named_buffers(recurse=False):
                    yield f'{number}.{path}.{name}', buffer


def _is_updated(wrapper: OptimWrapper) -> bool:
    """Whether the last step updated the weights; wrappers of several optimizers always do."""
    return not isinstance(wrapper, OptimWrapper) or wrapper.should_update()

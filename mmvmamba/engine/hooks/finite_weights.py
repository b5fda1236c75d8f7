from collections.abc import Iterator, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvmamba.datasets.errors import DataError
from mmvmamba.engine.sharded import local_part
from mmvmamba.registry import HOOKS

__all__ = ['FiniteWeightsHook']


@HOOKS.register_module()
class FiniteWeightsHook(Hook):
    """Ends a run whose weights, or running averages of BatchNorm, are not finite.

    Without it a training that has diverged goes on to its end, and a detector with such weights is
    tested to an average precision of zero: its predictions fall under every threshold.

    Args:
        interval: Steps of training from one look at the weights to the next.
    """

    def __init__(self, interval: int = 100) -> None:
        if interval < 1:
            raise ValueError(f'interval must be 1 or more, got {interval}')
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Looks at the weights now and then."""
        if self.every_n_train_iters(runner, self.interval):
            _check_training(runner.model, runner.iter + 1)

    def before_val(self, runner: Runner) -> None:
        """Looks at the weights that will be validated."""
        _check_training(runner.model, runner.iter)

    def before_test(self, runner: Runner) -> None:
        """Looks at the weights that will be tested."""
        bad = bad_weights(runner.model)
        if bad:
            raise DataError(f'{runner._load_from} holds weights that are not finite: {_some(bad)}')


def _check_training(model: nn.Module, steps: int) -> None:
    bad = bad_weights(model)
    if bad:
        raise DataError(
            f'weights are not finite after {steps} steps, the training has diverged: '
            f'{_some(bad)}. Lower optim_wrapper.optimizer.lr, or warm it up longer'
        )


@torch.no_grad()
def bad_weights(model: nn.Module) -> list[str]:
    """Names of the parameters and running averages that hold a value that is not finite."""
    named = list(_weights(model))
    if not named:
        return []
    # One transfer from the device for all of them.
    finite = torch.stack([local_part(tensor).isfinite().all() for _, tensor in named]).float()
    # Each process may hold a part, and all must come to the same result.
    all_reduce(finite, 'min')
    flags = finite.tolist()
    return [name for (name, _), is_finite in zip(named, flags, strict=True) if not is_finite]


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            yield name, buffer


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more

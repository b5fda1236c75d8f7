import copy
import time

import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

from mmvmamba.registry import HOOKS

__all__ = ['KernelWarmupHook']

# Where kernels are compiled when they are first met; tests take the CPU in.
COMPILING_DEVICES = ('cuda',)
# Of the image of zeros, in pixels.
SIDE = 64


@HOOKS.register_module()
class KernelWarmupHook(Hook):
    """Compiles the kernels of our backbones before the first step on a GPU, and says so.

    Without it the first step stands still for up to a minute, and nothing says why. A copy of the
    backbone takes images of zeros, forward and, before a training, backward: the model, its running
    averages and the random numbers stay as they are. The kernels are those of all image sizes.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Compiles what a step of training needs."""
        self._warm_up(runner, 'training')

    def before_val(self, runner: Runner) -> None:
        """Compiles what an evaluation needs."""
        self._warm_up(runner, 'evaluation')

    def before_test(self, runner: Runner) -> None:
        """Compiles what an evaluation needs."""
        self._warm_up(runner, 'evaluation')

    def _warm_up(self, runner: Runner, purpose: str) -> None:
        model = runner.model
        if isinstance(model, MMDistributedDataParallel):
            model = model.module
        backbone = getattr(model, 'backbone', None)
        # Others have no kernels of ours; sharded ones cannot be copied.
        is_ours = type(backbone).__module__.startswith('mmvmamba.')
        if not isinstance(backbone, nn.Module) or not is_ours or purpose in self._done:
            return
        device = next(backbone.parameters()).device
        if device.type not in COMPILING_DEVICES:
            return
        self._done.add(purpose)
        runner.logger.info(
            f'compiling the kernels of {type(backbone).__name__} for {purpose} on {device}: '
            'up to a minute; later runs find them on the disk'
        )
        start = time.perf_counter()
        if purpose == 'training':
            with runner.optim_wrapper.optim_context(model):
                run_copy(backbone, device, trains=True)
        else:
            run_copy(backbone, device, trains=False)
        runner.logger.info(f'compiled in {time.perf_counter() - start:.0f} s')


def run_copy(backbone: nn.Module, device: torch.device, trains: bool) -> None:
    """Runs a copy of a backbone on images of zeros, backward too if it ``trains``."""
    is_gpu = device.type == 'cuda'
    with torch.random.fork_rng(devices=[device] if is_gpu else []):
        twin = copy.deepcopy(backbone).train(trains)
        first = next(x for x in twin.modules() if isinstance(x, nn.Conv2d))
        images = torch.zeros(2, first.in_channels, SIDE, SIDE, device=device)
        with torch.set_grad_enabled(trains):
            maps = twin(images)
        # Where all stages are frozen there is nothing to go back to.
        wanted = [x for x in maps if trains and x.requires_grad]
        if wanted:
            torch.stack([x.float().sum() for x in wanted]).sum().backward()
        if is_gpu:
            torch.cuda.synchronize(device)

import torch
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmvmamba.engine.loops import ExactEpochLoop
from mmvmamba.engine.seeding import BEFORE_EPOCH, STEP, seed_from, seed_generators
from mmvmamba.registry import HOOKS

__all__ = ['StepSeedHook']

# The message hub is saved with a checkpoint and restored on resuming.
CONDITIONS = 'conditions_of_the_run'


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Makes the random state of each training step a function of seed, rank and step.

    A run that was stopped and resumed then draws the same random numbers as one that was not,
    without storing any state. The loops of mmvmamba do the same for the samples.

    With mmengine's own loops, that of its runner, a worker process would get the same seed in each
    epoch, so that augmentations repeat; here workers take PyTorch's own seeds, which differ by
    epoch, worker and rank.
    """

    # Before the hooks that draw random numbers themselves.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Leaves the seeding of worker processes to PyTorch; says what a resumed run lacks."""
        _compare_conditions(runner)
        loader, loop = runner.train_dataloader, runner.train_loop
        loader.worker_init_fn = None
        inexact = isinstance(loop, EpochBasedTrainLoop) and not isinstance(loop, ExactEpochLoop)
        if inexact and loader.num_workers and loader.persistent_workers:
            runner.logger.warning(
                'persistent_workers=True: the random state of the workers cannot be restored, so '
                'a resumed run will see other augmentations than one that was not stopped'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Fixes what the data loader draws when its workers start."""
        seed_generators(seed_from(runner.seed, get_rank(), BEFORE_EPOCH, runner.epoch))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Fixes what the step draws."""
        seed_generators(seed_from(runner.seed, get_rank(), STEP, runner.iter))


def _compare_conditions(runner: Runner) -> None:
    """Warns if a run goes on under conditions on which its numbers depend and that changed."""
    now = {'processes': get_world_size()}
    if hasattr(runner.train_dataloader.batch_sampler, 'batch_size'):
        now['samples in a batch'] = runner.train_dataloader.batch_sampler.batch_size
    if get_device() == 'cpu':
        # Several of PyTorch's kernels add up what each thread found.
        now['threads'] = torch.get_num_threads()
    before = runner.message_hub.get_info(CONDITIONS) or {}
    changed = [
        f'{before[name]} {name}, now {value}'
        for name, value in now.items()
        if name in before and before[name] != value
    ]
    if runner.iter and changed:
        runner.logger.warning(
            f'this is not an exact continuation: the run was begun with {"; ".join(changed)}'
        )
    runner.message_hub.update_info(CONDITIONS, now)

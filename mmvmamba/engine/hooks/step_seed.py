import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmvmamba.registry import HOOKS

__all__ = ['StepSeedHook', 'seed_from']


def seed_from(*parts: int) -> int:
    """Mixes numbers into one 32-bit seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Makes the random state of each training step a function of seed, rank and step.

    A run that was stopped and resumed then draws the same random numbers as one that was not,
    without storing any state and for any number of processes. mmengine gives a worker process the
    same seed in each epoch, so that augmentations repeat; here workers take PyTorch's own seeds,
    which differ by epoch, worker and rank.

    Exact for data loaders whose workers end with the epoch (``persistent_workers=False``), and for
    iteration-based training with at least one worker.
    """

    # Before the hooks that draw random numbers themselves.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Leaves the seeding of worker processes to PyTorch."""
        loader = runner.train_dataloader
        loader.worker_init_fn = None
        # Training by iterations has one long epoch, and resuming runs through its data once more.
        by_epoch = not isinstance(runner.train_loop, IterBasedTrainLoop)
        if by_epoch and loader.num_workers and loader.persistent_workers:
            runner.logger.warning(
                'persistent_workers=True: the random state of the workers cannot be restored, so '
                'a resumed run will see other augmentations than one that was not stopped'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Fixes what the data loader draws when its workers start."""
        self._seed(runner, 0, runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Fixes what the step draws."""
        self._seed(runner, 1, runner.iter)

    def _seed(self, runner: Runner, kind: int, step: int) -> None:
        value = seed_from(runner.seed, get_rank(), kind, step)
        random.seed(value)
        np.random.seed(value)  # noqa: NPY002  the transforms of the toolboxes draw from the global state
        torch.manual_seed(value)

"""mmengine's training loops, taken up exactly where they were stopped.

mmengine begins an epoch anew, or decodes all that was seen before; and what its workers draw
depends on their number. Here a batch and the augmentations of its samples are a function of seed,
process, epoch and place in the epoch.
"""

from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from mmvmamba.registry import LOOPS

from .samplers import make_exact

__all__ = ['ExactEpochLoop', 'ExactIterLoop', 'exact_loop']

# The message hub is saved with a checkpoint and restored on resuming.
PLACE = 'place_in_epoch'


@LOOPS.register_module()
class ExactEpochLoop(EpochBasedTrainLoop):
    """Trains by epochs; a run that was stopped amid an epoch goes on with its next batch.

    Args:
        runner: The runner.
        dataloader: Data loader or its config.
        max_epochs: Epochs of the training.
        val_begin: First epoch that is validated.
        val_interval: Epochs between validations.
        dynamic_intervals: Pairs of an epoch and the interval from there on.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self.sampler = make_exact(self.dataloader)

    def run(self) -> nn.Module:
        self._done = self._place()
        return super().run()

    def run_epoch(self) -> None:
        runner = self.runner
        done, self._done = self._done, 0
        runner.call_hook('before_train_epoch')
        runner.model.train()
        self.sampler.begin(runner.seed, self.epoch, done)
        for index, data_batch in enumerate(self.dataloader, done):
            runner.message_hub.update_info(PLACE, [index + 1, len(self.dataloader)])
            self.run_iter(index, data_batch)
        # For hooks that run through the data once more.
        self.sampler.begin(runner.seed, self.epoch, 0)
        runner.message_hub.update_info(PLACE, [0, len(self.dataloader)])
        runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _place(self) -> int:
        """Batches of the current epoch that were seen before the run was stopped."""
        length = len(self.dataloader)
        if not self.iter:
            return 0
        place = self.runner.message_hub.get_info(PLACE)
        if place is None:
            # A checkpoint of mmengine: written amid an epoch if more steps were taken than epochs
            # have.
            place = [self.iter - self.epoch * length, length]
        done, length_then = place
        if length_then == length and 0 <= done <= length:
            return done
        self.runner.logger.warning(
            f'the checkpoint was written {done} steps into an epoch of {length_then} steps, and an '
            f'epoch has {length} now (other processes, batch size or data): training goes on at '
            'the same share of the epoch, which is not exact'
        )
        return min(max(done, 0) * length // length_then, length)


@LOOPS.register_module()
class ExactIterLoop(IterBasedTrainLoop):
    """Trains by iterations; a run that was stopped goes on with its next batch.

    Args:
        runner: The runner.
        dataloader: Data loader or its config.
        max_iters: Steps of the training.
        val_begin: First step that may be validated.
        val_interval: Steps between validations.
        dynamic_intervals: Pairs of a step and the interval from there on.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # Not mmengine's: it starts the workers before a checkpoint can say where to begin.
        BaseLoop.__init__(self, runner, dataloader)
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._iter = self._epoch = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.sampler = make_exact(self.dataloader, self._max_iters)

    def run(self) -> nn.Module:
        runner = self.runner
        runner.call_hook('before_train')
        # The whole training is one epoch.
        runner.call_hook('before_train_epoch')
        self.sampler.begin(runner.seed, 0, self._iter)
        for data_batch in self.dataloader:
            runner.model.train()
            self.run_iter(data_batch)
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if runner.val_loop is not None and self._iter >= self.val_begin and due:
                runner.val_loop.run()
            if self.stop_training:
                break
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model


def exact_loop(loop: BaseLoop | dict) -> BaseLoop | dict:
    """Names the loop of this module where a config names mmengine's of the same kind."""
    if not isinstance(loop, dict):
        return loop
    settings = dict(loop)
    kind = settings.get('type')
    if kind is None and 'by_epoch' in settings:
        kind = EpochBasedTrainLoop if settings.pop('by_epoch') else IterBasedTrainLoop
    elif isinstance(kind, str):
        kind = ROOT_LOOPS.get(kind)
    exact = {EpochBasedTrainLoop: ExactEpochLoop, IterBasedTrainLoop: ExactIterLoop}.get(kind)
    return loop if exact is None else {**settings, 'type': exact}

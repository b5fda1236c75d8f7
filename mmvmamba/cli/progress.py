"""One line that says how far a run is, on a terminal."""

import sys
from collections.abc import Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

__all__ = ['ProgressHook', 'has_terminal']

FORMAT = '{desc} {percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}, {remaining} left{postfix}'


def has_terminal() -> bool:
    """Whether somebody watches; a file or a pipe gets plain lines."""
    return sys.stdout.isatty()


class ProgressHook(Hook):
    """Draws a bar over the steps of a training, and one over the batches of each evaluation."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.inner: tqdm | None = None

    def before_train(self, runner: Runner) -> None:
        """Begins the bar of the training, where a resumed run goes on."""
        self.bar = self._open(runner.train_loop.max_iters, 'train', initial=runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Takes a step."""
        if self.bar is None:
            return
        epochs = runner.cfg.train_cfg.get('max_epochs')
        if epochs:
            epoch = min(runner.epoch + 1, epochs)
            self.bar.set_description(f'epoch {epoch}/{epochs}', refresh=False)
        loss = runner.message_hub.log_scalars.get('train/loss')
        if loss is not None:
            self.bar.set_postfix_str(f'loss {loss.current():.3f}', refresh=False)
        self.bar.update()

    def after_train(self, runner: Runner) -> None:
        """Ends the bar."""
        self._close()

    def before_val_epoch(self, runner: Runner) -> None:
        """Begins the bar of a validation, below that of the training."""
        self.inner = self._open(len(runner.val_dataloader), 'validate')

    def before_test_epoch(self, runner: Runner) -> None:
        """Begins the bar of a test."""
        self.inner = self._open(len(runner.test_dataloader), 'test')

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | dict | None = None,
        mode: str = 'train',
    ) -> None:
        if self.inner is not None:
            self.inner.update()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Takes the bar away."""
        self._close_inner()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Takes the bar away."""
        self._close_inner()

    def _open(self, total: int, name: str, initial: int = 0) -> tqdm | None:
        if not is_main_process():
            return None
        return tqdm(
            total=total,
            desc=name,
            initial=initial,
            leave=False,
            bar_format=FORMAT,
            file=sys.stdout,
            dynamic_ncols=True,
        )

    def _close_inner(self) -> None:
        if self.inner is not None:
            self.inner.close()
        self.inner = None

    def _close(self) -> None:
        self._close_inner()
        if self.bar is not None:
            self.bar.close()
        self.bar = None

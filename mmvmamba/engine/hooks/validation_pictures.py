"""Pictures of what a model predicts while it is trained."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from mmvmamba.registry import HOOKS

from .prediction_pictures import PredictionPicturesHook

__all__ = ['ValidationPicturesHook']


@HOOKS.register_module()
class ValidationPicturesHook(PredictionPicturesHook):
    """Writes pictures of the first predictions of each validation.

    They go to ``validation/step_<step>`` of the work dir, always the same images.

    Args:
        limit: How many pictures of each validation.
        score_thr: As in ``PredictionPicturesHook``.
    """

    def __init__(self, limit: int = 4, score_thr: float = 0.3) -> None:
        super().__init__('', score_thr=score_thr, limit=limit)

    def before_val(self, runner: Runner) -> None:
        """Makes the folder of this validation."""
        self.out_dir = Path(runner.work_dir, 'validation', f'step_{runner.iter}')
        self.count = 0
        self.before_test(runner)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draws the samples of a batch until there are enough."""
        self.after_test_iter(runner, batch_idx, data_batch, outputs)

    def _loader(self, runner: Runner) -> DataLoader:
        return runner.val_dataloader

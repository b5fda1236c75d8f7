from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmvmamba.datasets.errors import LabelMismatchError
from mmvmamba.datasets.label_maps import label_problem
from mmvmamba.registry import HOOKS

__all__ = ['LabelRangeHook']

REMEDY = '`mmvmamba data check CONFIG` lists all such files.'


@HOOKS.register_module()
class LabelRangeHook(Hook):
    """Stops a segmentation run at a label that the model has not, naming the file.

    Without it such a label ends in an index error of the loss, on a GPU in one that names nothing
    at all, and in evaluation it is left out of the figures silently. The labels are read where the
    data loader put them, before they go to a GPU.
    """

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Checks a training batch."""
        self._check(runner, data_batch)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Checks a validation batch."""
        self._check(runner, data_batch)

    def before_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Checks a test batch."""
        self._check(runner, data_batch)

    def _check(self, runner: Runner, data_batch: dict | None) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head: Any = getattr(model, 'decode_head', None)
        if head is None or data_batch is None:
            # Test-time augmentation wraps the model and gives each image several times.
            return
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        for sample in data_batch['data_samples']:
            if 'gt_sem_seg' not in sample:
                continue
            problem = label_problem(
                sample.gt_sem_seg.data.unique().tolist(),
                head.num_classes,
                head.ignore_index,
                sample.get('reduce_zero_label', False),
            )
            if problem:
                path = sample.get('seg_map_path', sample.get('img_path'))
                raise LabelMismatchError(problem, path=path, remedy=REMEDY)

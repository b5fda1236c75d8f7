from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmvmamba.datasets.checks.faults import class_count_problem
from mmvmamba.datasets.errors import LabelMismatchError
from mmvmamba.registry import HOOKS

__all__ = ['ClassCheckHook']

REMEDY = 'Correct the list, or name the classes that belong to its labels.'


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Refuses data with other classes than the model's, before the first step.

    Raises:
        LabelMismatchError: Their numbers differ, or a list has labels that no class has.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the data for training, and those that an epoch of training would end with."""
        _check(runner, runner.train_dataloader, 'train_dataloader')
        if runner.val_loop is not None:
            _check(runner, runner.val_dataloader, 'val_dataloader')

    def before_val(self, runner: Runner) -> None:
        """Checks the data for validation."""
        _check(runner, runner.val_dataloader, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Checks the data for the test."""
        _check(runner, runner.test_dataloader, 'test_dataloader')


def _check(runner: Runner, loader: DataLoader, name: str) -> None:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    dataset: Any = loader.dataset
    classes = dataset.metainfo.get('classes')
    for part, module in model.named_modules():
        # Proposals of detectors have one class, whatever the data.
        is_proposal_head = type(module).__name__ == 'RPNHead'
        expected = None if is_proposal_head else getattr(module, 'num_classes', None)
        problem = '' if expected is None else class_count_problem(classes, expected)
        if problem:
            raise LabelMismatchError(
                f'{name}: {problem}',
                path=_path_of(dataset),
                remedy=f'Set num_classes of {part or "the model"}, of other heads and of a '
                f"classifier's data_preprocessor to {len(classes)}, or take the data that the "
                'model was made for.',
            )
    if classes is not None and hasattr(dataset, 'get_gt_labels'):
        # Imports mmpretrain, which such a data set has done before.
        from mmvmamba.datasets.checks.classification import label_faults

        for fault in label_faults(dataset, len(classes)):
            raise LabelMismatchError(f'{name}: {fault.problem}', path=fault.path, remedy=REMEDY)


def _path_of(dataset: object) -> str:
    prefix = getattr(dataset, 'data_prefix', None) or {}
    path = prefix.get('img_path', prefix.get('img')) if isinstance(prefix, dict) else prefix
    return str(path or getattr(dataset, 'data_root', '') or '')

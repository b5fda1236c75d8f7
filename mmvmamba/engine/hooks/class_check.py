from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmvmamba.datasets.errors import LabelMismatchError
from mmvmamba.registry import HOOKS

__all__ = ['ClassCheckHook']


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Refuses data that have another number of classes than the model, before the first step.

    Raises:
        LabelMismatchError: With both numbers, where the data are, and what to change.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the data for training, and those that an epoch of training would end with."""
        _check(runner.model, runner.train_dataloader, 'train_dataloader')
        if runner.val_loop is not None:
            _check(runner.model, runner.val_dataloader, 'val_dataloader')

    def before_val(self, runner: Runner) -> None:
        """Checks the data for validation."""
        _check(runner.model, runner.val_dataloader, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Checks the data for the test."""
        _check(runner.model, runner.test_dataloader, 'test_dataloader')


def _check(model: nn.Module, loader: DataLoader, name: str) -> None:
    model = model.module if is_model_wrapper(model) else model
    classes = loader.dataset.metainfo.get('classes')
    if classes is None:
        return
    for part, module in model.named_modules():
        # Proposals of detectors have one class, whatever the data.
        is_proposal_head = type(module).__name__ == 'RPNHead'
        expected = None if is_proposal_head else getattr(module, 'num_classes', None)
        if expected is not None and expected != len(classes):
            raise LabelMismatchError(
                f'{part or "the model"} expects {expected} classes, the data set of {name} has '
                f'{len(classes)}',
                _path_of(loader.dataset),
                '',
                f'Set num_classes to {len(classes)}, in the heads and in the data_preprocessor of '
                'a classifier, or take the data that the model was made for.',
            )


def _path_of(dataset: object) -> str:
    prefix = getattr(dataset, 'data_prefix', None) or {}
    path = prefix.get('img_path', prefix.get('img')) if isinstance(prefix, dict) else prefix
    return str(path or getattr(dataset, 'data_root', '') or '')

"""Images in a folder for each class."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mmengine.config import Config

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.inputs import IMAGES

from .found import HEAD, VALIDATION, FoundData, Settings, first_folder, incomplete
from .source import first_weights

__all__ = ['LOOKED_FOR', 'ClassFolders', 'find']

LOOKED_FOR = 'DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, the same classes in both'

CONFIG = (
    HEAD
    + """num_classes = {num_classes}
batch_size = {batch_size}
epochs = {epochs}

model = dict(
    backbone=dict(frozen_stages=-1, init_cfg={init_cfg}), head=dict(num_classes=num_classes)
)
data_preprocessor = dict(num_classes=num_classes)
dataset = dict(_delete_=True, type='CustomDataset', data_root=data_root)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers={workers},
    persistent_workers={persistent},
    dataset=dict(data_prefix='train', pipeline={{{{_base_.train_pipeline}}}}, **dataset),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers={workers},
    persistent_workers={persistent},
    dataset=dict(data_prefix={val_folder!r}, pipeline={{{{_base_.test_pipeline}}}}, **dataset),
)
test_dataloader = val_dataloader

# Of 256 images a step 2.5e-4, and in proportion to the root of their number.
optim_wrapper = dict(optimizer=dict(lr=2.5e-4 * (batch_size / 256) ** 0.5), accumulative_counts=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end={warmup}),
    dict(type='CosineAnnealingLR', T_max=epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs)
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
"""
)


@dataclass(frozen=True)
class ClassFolders(FoundData):
    """Images in a folder for each class.

    Args:
        val_folder: The name of the split for validation.
    """

    val_folder: str

    layout: ClassVar[str] = 'class folders'
    task: ClassVar[str] = 'classification'

    def config(self, settings: Settings) -> str:
        """Fine-tunes a classifier."""
        cfg = Config.fromfile(settings.entry.config, import_custom_modules=False)
        replaces = bool(cfg.model.backbone.get('init_cfg'))
        return CONFIG.format(
            **self.common(settings, batch_size=max(1, min(64, self.train // 4))),
            num_classes=len(self.classes),
            val_folder=self.val_folder,
            init_cfg=first_weights(settings, replaces),
        )


def find(root: Path) -> ClassFolders | None:
    """Looks for folders of classes in the folders of the splits.

    Returns:
        None if there are none.

    Raises:
        UserError: There are, but not for both splits or not the same in both.
    """
    train = _classes(root / 'train')
    val_folder = first_folder(root, VALIDATION)
    val = _classes(root / val_folder) if val_folder else {}
    if not train and not val:
        return None
    if not train or not val:
        empty = 'train' if not train else ' or '.join(VALIDATION)
        raise incomplete(root, ClassFolders.layout, f'none in {empty}', LOOKED_FOR)
    if set(train) != set(val):
        different = sorted(set(train) ^ set(val))
        raise UserError(
            f'--data {root}: train and {val_folder} must have the same classes; '
            f'{", ".join(different[:5])} are in one of them alone'
        )
    counts = sum(train.values()), sum(val.values())
    return ClassFolders(root, tuple(sorted(train)), *counts, str(val_folder))


def _classes(folder: Path) -> dict[str, int]:
    """Numbers of images by class."""
    if not folder.is_dir():
        return {}
    counts = {
        item.name: sum(file.suffix.lower() in IMAGES for file in item.rglob('*'))
        for item in folder.iterdir()
        if item.is_dir()
    }
    return {name: count for name, count in counts.items() if count}

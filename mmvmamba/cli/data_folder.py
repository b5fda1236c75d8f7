"""A config for a folder of a user's own images: ``mmvmamba train --data DIR --model NAME``."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from mmvmamba.apis.catalogue import CatalogueEntry, catalogue, find_entry

from .errors import UserError
from .inputs import IMAGES
from .names import near_names
from .preflight import check_checkpoint

__all__ = ['ClassFolders', 'recognise', 'write_config']

VALIDATION = ('val', 'valid', 'validation')
LOOKED_FOR = (
    'class folders: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, the same classes in both'
)
OTHER = (
    ('COCO annotations', ('annotations/*.json', '*/_annotations.coco.json'), 'detection'),
    ('YOLO labels', ('data.yaml', 'data.yml'), 'detection'),
    ('images and masks', ('masks', '*/masks', 'annotations/*/*.png'), 'segmentation'),
)

CONFIG = """# Fine-tuning {model} on the {train} training and {val} validation images of {root}.
# Written by mmvmamba train --data; repeat or change it: mmvmamba train {path}
_base_ = {base!r}

data_root = {root!r}
num_classes = {num_classes}
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


@dataclass(frozen=True)
class ClassFolders:
    """Images in a folder for each class.

    Args:
        root: The folder with the splits.
        val_folder: The name of the split for validation.
        classes: Names of the classes, in their order.
        train: Number of images for training.
        val: Number of images for validation.
    """

    root: Path
    val_folder: str
    classes: tuple[str, ...]
    train: int
    val: int

    def __str__(self) -> str:
        return (
            f'class folders, {len(self.classes)} classes, {self.train} images for training and '
            f'{self.val} for validation'
        )


def recognise(folder: str) -> ClassFolders:
    """Finds out what a folder holds.

    Raises:
        UserError: It is none, its layout is not known or not complete; with what was looked for.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'--data {folder} is no folder')
    for name, patterns, task in OTHER:
        if any(True for pattern in patterns for _ in root.glob(pattern)):
            page = f'docs/finetune_{task}.md'
            raise UserError(
                f'--data {folder} holds {name}: --data reads class folders alone; {page} shows the '
                f'config for {task}'
            )
    train = _classes(root / 'train')
    val_folder = next((name for name in VALIDATION if (root / name).is_dir()), None)
    if not train or val_folder is None:
        missing = 'train' if not train else ' or '.join(VALIDATION)
        raise UserError(
            f'--data {folder} has no class folders in {missing}; looked for {LOOKED_FOR}; '
            f'there are {", ".join(sorted(os.listdir(root))[:8]) or "no files"}'
        )
    val = _classes(root / val_folder)
    if set(train) != set(val):
        different = sorted(set(train) ^ set(val))
        raise UserError(
            f'--data {folder}: train and {val_folder} must have the same classes; '
            f'{", ".join(different[:5])} are in one of them alone'
        )
    counts = sum(train.values()), sum(val.values())
    return ClassFolders(root.resolve(), val_folder, tuple(sorted(train)), *counts)


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


def write_config(args: argparse.Namespace) -> str:
    """Writes the config of a training on a folder to its work dir.

    Args:
        args: Those of ``mmvmamba train`` with ``--data``.

    Returns:
        The config's path.

    Raises:
        UserError: The folder or the model does not do.
    """
    entry = _classifier(args.model)
    found = recognise(args.data)
    name = f'{entry.name}_{found.root.name}'
    work_dir = Path(args.work_dir or Path('work_dirs', name))
    path = work_dir / 'config' / f'{name}.py'
    batch_size = max(1, min(64, found.train // 4))
    workers = min(4, (os.cpu_count() or 1) - 1)
    text = CONFIG.format(
        **vars(found) | dict(root=str(found.root)),
        model=entry.name,
        base=str(entry.config),
        path=path,
        num_classes=len(found.classes),
        batch_size=batch_size,
        epochs=args.epochs,
        warmup=max(1, min(500, args.epochs * found.train // batch_size // 10)),
        workers=workers,
        persistent=workers > 0,
        init_cfg=_init_cfg(entry, args.weights),
    )
    if path.exists() and path.read_text() != text:
        raise UserError(
            f'{path} is there and differs; mmvmamba train {path} runs it as it is, or name another '
            '--work-dir'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(f'data     {found}')
    print(f'config   {path}')
    args.work_dir = str(work_dir)
    return str(path)


def _classifier(name: str) -> CatalogueEntry:
    entry = find_entry(name)
    names = [entry.name for entry in catalogue(task='classification')]
    if entry is None or entry.name not in names:
        raise UserError(f'--model must be a classifier, got {name!r}{near_names(name, names)}')
    return entry


def _init_cfg(entry: CatalogueEntry, weights: str | None) -> str:
    if weights == 'none':
        return 'None'
    source = weights or entry.weights
    if source is None:
        raise UserError(f'{entry.name} has no official weights: give --weights FILE, or none')
    check_checkpoint(source)
    if '://' not in source:
        source = str(Path(source).resolve())
    return f"dict(type='Pretrained', checkpoint={source!r})"

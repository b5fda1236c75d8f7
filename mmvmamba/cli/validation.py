"""A classifier by name on a folder or a database, with the figures of a test: ``validate``."""

import argparse
import os
import re
import tempfile
from collections.abc import Sequence
from typing import Any

from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmvmamba.apis import get_model
from mmvmamba.datasets.lmdb.reader import find_database
from mmvmamba.engine import Runner

from .errors import UserError, user_errors
from .evaluation import format_table
from .progress import ProgressHook, has_terminal
from .terminal import quiet_terminal

__all__ = ['build_runner', 'check_classes', 'dataset_config', 'validate']

PLACE_HOLDER = re.compile(r'n\d{8}|\d+')


def validate(args: argparse.Namespace) -> None:
    """Validates as the arguments of ``mmvmamba validate`` say."""
    with user_errors(args.debug):
        if not os.path.exists(args.data):
            raise UserError(f'--data {args.data} does not exist')
        model = get_model(args.model, args.checkpoint or True)
    with quiet_terminal(False, has_terminal()), tempfile.TemporaryDirectory() as work_dir:
        with user_errors(args.debug):
            runner = build_runner(model, args, work_dir)
        if has_terminal():
            runner.register_hook(ProgressHook(), priority='LOWEST')
        metrics = runner.test()
    print(format_table(metrics))


def build_runner(model: Any, args: argparse.Namespace, work_dir: str) -> Runner:
    """A runner that tests the model with the preparation its authors used."""
    num_classes = model.head.num_classes
    dataset = dataset_config(args.data, args.list, num_classes)
    dataset.update(pipeline=model.preprocessing.pipeline(), test_mode=True)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        # Built here and not by the run: what is wrong with the data is bad input.
        dataset = DATASETS.build(dataset)
    check_classes(model, dataset.metainfo['classes'], args.data)
    return Runner(
        model=model,
        work_dir=work_dir,
        test_dataloader=dict(
            batch_size=args.batch_size,
            num_workers=args.workers,
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        test_cfg=dict(),
        test_evaluator=dict(type='Accuracy', topk=(1, 5) if num_classes >= 5 else (1,)),
        default_scope='mmpretrain',
        experiment_name='validate',
    )


def dataset_config(data: str, list_file: str | None, num_classes: int) -> dict:
    """The data set at a path, whatever its form."""
    for path in (data, os.path.join(data, 'val.lmdb'), os.path.join(data, 'val')):
        if find_database(path) is not None:
            listed = dict(ann_file=os.path.abspath(list_file)) if list_file else {}
            return dict(
                type='mmvmamba.ImageNetLMDB', data_root=path, num_classes=num_classes, **listed
            )
    if not os.path.isdir(data):
        raise UserError(f'--data must be a folder or a database, got {data!r}')
    if os.path.isdir(os.path.join(data, 'val')):
        data = os.path.join(data, 'val')
    if list_file is not None:
        classes = [str(i) for i in range(num_classes)]
        return dict(type='CustomDataset', data_prefix=data, ann_file=list_file, classes=classes)
    folders = sum(entry.is_dir() for entry in os.scandir(data))
    if folders != num_classes:
        raise UserError(
            f'{data} must have {num_classes} class folders, as many as the checkpoint has classes, '
            f'got {folders}; a flat folder needs --list'
        )
    return dict(type='CustomDataset', data_prefix=data)


def check_classes(model: nn.Module, classes: Sequence[str], data: str) -> None:
    """Makes sure that the labels of the data mean to the model what they say.

    Folders and databases may be named by numbers or by ImageNet's synsets, which say nothing.
    """
    expected = (getattr(model, '_dataset_meta', None) or {}).get('classes')
    if expected is None or any(all(map(PLACE_HOLDER.fullmatch, c)) for c in (expected, classes)):
        return
    for label, (ours, theirs) in enumerate(zip(expected, classes, strict=True)):
        if ours != theirs:
            raise UserError(
                f'{data} must have the classes of the checkpoint, in their order: label {label} is '
                f'{ours!r} there and {theirs!r} here; give data of these classes'
            )

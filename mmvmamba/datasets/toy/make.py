"""Generates the toy data sets, whole or not at all."""

import json
import os
import shutil
from pathlib import Path

from .writers import write_ade20k, write_coco, write_imagenet

__all__ = ['TOY_DATASETS', 'make_toy_data']

# Each rises when the same arguments begin to give other files.
TOY_VERSIONS = {'coco': 1, 'ade20k': 2, 'imagenet': 1}
STAMP = 'toy.json'

# name: writer, name of the training split, name of the validation split
TOY_DATASETS = {
    'coco': (write_coco, 'train', 'val'),
    'ade20k': (write_ade20k, 'training', 'validation'),
    'imagenet': (write_imagenet, 'train', 'val'),
}


def make_toy_data(
    out_dir: str | os.PathLike,
    name: str,
    num_train: int = 400,
    num_val: int = 80,
    seed: int = 0,
    with_corrupted: bool = False,
    overwrite: bool = False,
) -> tuple[Path, bool]:
    """Generates one data set in ``out_dir/<name>``.

    The folder appears when it is complete; an interrupted run leaves nothing under that name.

    Args:
        out_dir: Parent folder, made if missing.
        name: 'coco', 'ade20k' or 'imagenet'.
        num_train: Images for training.
        num_val: Images for validation.
        seed: The same seed gives the same files; training and validation never share an image.
        with_corrupted: Adds one broken image file to the training split.
        overwrite: Replaces a folder that holds something else.

    Returns:
        The folder, and whether it was written now (False: the same data set was already there).

    Raises:
        ValueError: For an unknown name or a count below 1.
        FileExistsError: If the folder holds something else and ``overwrite`` is not set.
    """
    if name not in TOY_DATASETS:
        raise ValueError(f'toy data set must be one of {list(TOY_DATASETS)}, got {name!r}')
    if min(num_train, num_val) < 1:
        raise ValueError(f'image counts must be at least 1, got {num_train} and {num_val}')
    stamp = dict(
        version=TOY_VERSIONS[name],
        name=name,
        num_train=num_train,
        num_val=num_val,
        seed=seed,
        with_corrupted=with_corrupted,
    )
    target = Path(out_dir) / name
    if target.exists():
        if (target / STAMP).is_file() and json.loads((target / STAMP).read_text()) == stamp:
            return target, False
        if not overwrite:
            raise FileExistsError(
                f'{target} exists and holds something else; remove it, or overwrite it'
            )
    scratch = target.with_name(f'.{name}.{os.getpid()}.part')
    try:
        writer, train, val = TOY_DATASETS[name]
        writer(scratch, train, num_train, 2 * seed, with_corrupted)
        writer(scratch, val, num_val, 2 * seed + 1)
        (scratch / STAMP).write_text(json.dumps(stamp, indent=2))
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target, True

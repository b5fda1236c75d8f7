"""Which layout a folder of a user's own images has."""

import os
from pathlib import Path

from mmvmamba.cli.errors import UserError

from . import class_folders, coco_folder, mask_folders, yolo_folder
from .found import FoundData

__all__ = ['recognise']

# In this order: what is said in a file before what folders are called.
LAYOUTS = {
    'COCO': coco_folder,
    'YOLO': yolo_folder,
    'images and masks': mask_folders,
    'class folders': class_folders,
}
SHOWN = 8


def recognise(folder: str) -> FoundData:
    """Finds out what a folder holds.

    Raises:
        UserError: It is none, its layout is not known or not complete; with what was looked for.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'--data {folder} is no folder')
    root = root.resolve()
    for layout in LAYOUTS.values():
        found = layout.find(root)
        if found is not None:
            return found
    looked_for = ''.join(f'\n  {name}: {layout.LOOKED_FOR}' for name, layout in LAYOUTS.items())
    names = sorted(os.listdir(root))
    there = ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
    raise UserError(
        f'--data {folder} has none of the layouts that are known; it holds {there or "no files"}. '
        f'Looked for{looked_for}'
    )

"""YOLO's labels, read once and kept in COCO's form beside the config."""

import json
from pathlib import Path

from mmvmamba.cli.errors import UserError
from mmvmamba.datasets.yolo import coco_annotations, read_yolo

from .found import first_file
from .objects import ObjectFiles, Split, has_masks

__all__ = ['LOOKED_FOR', 'find']

LOOKED_FOR = 'DIR/data.yaml with train, val and names, and a label file for each image'


def find(root: Path) -> ObjectFiles | None:
    """Looks for a ``data.yaml``.

    Returns:
        None if there is none.

    Raises:
        AnnotationError: It, or a label file, is broken, or images are not found.
    """
    file = first_file(root, ('data.yaml', 'data.yml'))
    if file is None:
        return None
    data = read_yolo(root / file)
    contents = {
        split: coco_annotations(images, data.classes, root)
        for split, images in (('train', data.train), ('val', data.val))
    }
    if not contents['train']['annotations']:
        raise UserError(f'--data {root}: no image for training has a label file')
    splits = {
        split: Split(f'{split}.json', '', len(content['images']))
        for split, content in contents.items()
    }
    return ObjectFiles(
        root,
        data.classes,
        splits['train'].count,
        splits['val'].count,
        kind='YOLO labels',
        train_split=splits['train'],
        val_split=splits['val'],
        with_masks=all(map(has_masks, contents.values())),
        files={f'{split}.json': json.dumps(content) for split, content in contents.items()},
    )

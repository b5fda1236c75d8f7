"""Annotations as COCO has them, and as annotation tools export them in COCO's form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmvmamba.cli.errors import UserError
from mmvmamba.datasets.coco_annotations import check_annotations, read_annotations

from .found import VALIDATION, incomplete
from .objects import ObjectFiles, Split, annotated_classes, has_masks

__all__ = ['LOOKED_FOR', 'find']

LAYOUT = 'COCO annotations'
EXPORTED = '_annotations.coco.json'
LOOKED_FOR = (
    f'DIR/train/{EXPORTED} and DIR/valid/{EXPORTED} beside their images; or '
    'DIR/annotations/*train*.json and *val*.json, with the images in DIR/train, DIR/images/train, '
    'DIR/images or such'
)


def find(root: Path) -> ObjectFiles | None:
    """Looks for annotation files of COCO's form.

    Returns:
        None if there are none.

    Raises:
        UserError: There is one for one of the splits only, or images are not found.
        AnnotationError: A file is broken.
    """
    train, val = _file(root, ('train',)), _file(root, VALIDATION)
    if train is None and val is None:
        if any(root.glob('annotations/*.json')) or any(root.glob(f'*/{EXPORTED}')):
            raise incomplete(root, LAYOUT, 'none for training and validation', LOOKED_FOR)
        return None
    if train is None or val is None:
        missing = 'training' if train is None else 'validation'
        raise incomplete(root, LAYOUT, f'none for {missing}', LOOKED_FOR)
    contents = [_read(root / train)]
    classes = annotated_classes(contents[0])
    if not classes:
        raise UserError(f'{root / train} has no annotations: there is nothing to learn from it')
    contents.append(_read(root / val, classes))
    splits = [
        Split(file, _images(root, file, content), len(content['images']))
        for file, content in zip((train, val), contents, strict=True)
    ]
    return ObjectFiles(
        root,
        classes,
        splits[0].count,
        splits[1].count,
        kind=LAYOUT,
        train_split=splits[0],
        val_split=splits[1],
        with_masks=all(map(has_masks, contents)),
    )


def _file(root: Path, splits: tuple[str, ...]) -> str | None:
    """The annotation file of a split, from the root."""
    for split in splits:
        if (root / split / EXPORTED).is_file():
            return f'{split}/{EXPORTED}'
    named = [
        file
        for file in sorted((root / 'annotations').glob('*.json'))
        if any(split in file.stem.lower() for split in splits)
    ]
    # Beside objects COCO has captions, keypoints and more of the same images.
    objects = [file for file in named if file.stem.startswith('instances')]
    return next((f'annotations/{file.name}' for file in objects or named), None)


def _read(file: Path, classes: tuple[str, ...] | None = None) -> Any:
    content = read_annotations(str(file))
    check_annotations(content, str(file), classes, with_files=True)
    return content


def _images(root: Path, file: str, content: Any) -> str:
    """The folder of the images of an annotation file, from the root."""
    first = content['images'][0]['file_name']
    folders = list(dict.fromkeys(_folders(file)))
    for folder in folders:
        if (root / folder / first).is_file():
            return folder
    raise UserError(
        f'--data {root}: image {first} of {file} is in none of the folders '
        f'{", ".join(folder or "DIR itself" for folder in folders)}'
    )


def _folders(file: str) -> Iterator[str]:
    parent, _, name = file.rpartition('/')
    if name == EXPORTED:
        yield parent
    stem = name.removesuffix('.json')
    split = 'train' if 'train' in stem.lower() or parent == 'train' else None
    for part in (stem, stem.rpartition('_')[2], *((split,) if split else VALIDATION)):
        yield from (part, f'images/{part}')
    yield from ('images', '')

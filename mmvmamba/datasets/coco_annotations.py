"""Looking through a COCO annotation file before it is trained on or counted with."""

import json
import math
from collections.abc import Sequence

from .errors import AnnotationError

__all__ = ['check_annotations', 'read_annotations']

KEYS = ('image_id', 'category_id', 'bbox', 'area', 'iscrowd')


def read_annotations(text: str, source: str) -> dict:
    """Parses the content of an annotation file.

    Args:
        text: The content.
        source: The file's name, for messages.

    Raises:
        AnnotationError: It is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise AnnotationError(f'{source} is not JSON: {error}') from error


def check_annotations(
    dataset: dict, source: str, classes: Sequence[str] = (), with_masks: bool = False
) -> None:
    """Refuses what COCO's tools would trip over or silently get wrong.

    Boxes without area, boxes that reach over the border and images without annotations are fine:
    mmdet does not train on what has no area inside the image, and COCO's tools count it.

    Args:
        dataset: The content of the file.
        source: The file's name, for messages.
        classes: Names that the model predicts; each must be a category of the file.
        with_masks: Whether every annotation needs a mask.

    Raises:
        AnnotationError: Naming the file, the record and what is wrong with it.
    """
    for key in ('images', 'categories'):
        if not isinstance(dataset, dict) or not isinstance(dataset.get(key), list):
            raise AnnotationError(f'{source} has no list {key!r}: it is not a COCO annotation file')
    images = _unique_ids(dataset['images'], source, 'image')
    categories = _unique_ids(dataset['categories'], source, 'category')
    annotations = dataset.get('annotations', [])
    _unique_ids(annotations, source, 'annotation')
    for record in dataset['images']:
        if not {'width', 'height'} <= set(record):
            raise AnnotationError(f'{source}: image {record["id"]} lacks width or height')
    for record in annotations:
        name = f'{source}: annotation {record["id"]}'
        _check_annotation(record, images, categories, name)
        if with_masks or record.get('segmentation'):
            _check_mask(record.get('segmentation'), images[record['image_id']], name)
    names = [record['name'] for record in dataset['categories']]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise AnnotationError(
            f"{source} lacks the classes {unknown} of the model's data set; its categories are "
            f'{names}'
        )


def _unique_ids(records: list[dict], source: str, kind: str) -> dict:
    seen = {}
    for position, record in enumerate(records):
        if 'id' not in record:
            raise AnnotationError(f'{source}: {kind} number {position} has no id')
        if record['id'] in seen:
            raise AnnotationError(f'{source}: {kind} id {record["id"]} occurs more than once')
        seen[record['id']] = record
    return seen


def _check_annotation(record: dict, images: dict, categories: dict, name: str) -> None:
    missing = set(KEYS) - set(record)
    if missing:
        raise AnnotationError(f'{name} lacks {sorted(missing)}')
    if record['image_id'] not in images:
        raise AnnotationError(
            f'{name} belongs to image {record["image_id"]}, which is not in the file'
        )
    if record['category_id'] not in categories:
        raise AnnotationError(
            f'{name} has category {record["category_id"]}, which is not in the file'
        )
    box = record['bbox']
    if len(box) != 4 or not all(math.isfinite(value) for value in box) or min(box[2:]) < 0:
        raise AnnotationError(
            f'{name} must have a box of x, y, width >= 0 and height >= 0, got {box}'
        )


def _check_mask(mask: object, image: dict, name: str) -> None:
    if isinstance(mask, dict):
        _check_run_lengths(mask, [image['height'], image['width']], name)
        return
    # Polygons of less than three points are left out by those who use them.
    if not isinstance(mask, list) or not all(isinstance(part, list) and part for part in mask):
        raise AnnotationError(f'{name} must have a mask, as polygons or run lengths, got {mask}')
    if not mask:
        raise AnnotationError(f'{name} has no mask')
    if not all(math.isfinite(value) for polygon in mask for value in polygon):
        raise AnnotationError(f'{name} has a polygon with a number that is not finite')


def _check_run_lengths(mask: dict, size: list[int], name: str) -> None:
    if mask.get('size') != size:
        raise AnnotationError(
            f'{name} must have a mask of the height and width of its image, {size}, '
            f'got {mask.get("size")}'
        )
    counts = mask.get('counts')
    total = sum(counts) if isinstance(counts, list) else None
    if total not in (None, size[0] * size[1]) or not isinstance(counts, list | str):
        raise AnnotationError(
            f'{name} must have run lengths that add up to {size[0] * size[1]} pixels, got '
            f'{type(counts).__name__ if total is None else total}'
        )

"""Looking through a COCO annotation file before it is counted with."""

import math
from collections.abc import Sequence

__all__ = ['check_annotations']


def check_annotations(dataset: dict, source: str, classes: Sequence[str] = ()) -> None:
    """Refuse what COCO's tools would trip over or silently get wrong.

    Boxes without area, boxes that reach over the border and images without annotations are fine.

    Args:
        dataset: the content of the file.
        source: the file's name, for messages.
        classes: names that the model predicts; each must be a category of the file.

    Raises:
        ValueError: naming the file, the record and what is wrong with it.
    """
    for key in ('images', 'categories'):
        if not isinstance(dataset.get(key), list):
            raise ValueError(f'{source} has no list {key!r}: it is not a COCO annotation file')
    images = _unique_ids(dataset['images'], source, 'image')
    categories = _unique_ids(dataset['categories'], source, 'category')
    annotations = dataset.get('annotations', [])
    _unique_ids(annotations, source, 'annotation')
    for record in annotations:
        _check_annotation(record, images, categories, source)
    names = [record['name'] for record in dataset['categories']]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise ValueError(
            f"{source} lacks the classes {unknown} of the model's data set; its categories are "
            f'{names}'
        )


def _unique_ids(records: list[dict], source: str, kind: str) -> set:
    seen = set()
    for position, record in enumerate(records):
        if 'id' not in record:
            raise ValueError(f'{source}: {kind} number {position} has no id')
        if record['id'] in seen:
            raise ValueError(f'{source}: {kind} id {record["id"]} occurs more than once')
        seen.add(record['id'])
    return seen


def _check_annotation(record: dict, images: set, categories: set, source: str) -> None:
    name = f'{source}: annotation {record["id"]}'
    missing = {'image_id', 'category_id', 'bbox', 'area', 'iscrowd'} - set(record)
    if missing:
        raise ValueError(f'{name} lacks {sorted(missing)}')
    if record['image_id'] not in images:
        raise ValueError(f'{name} belongs to image {record["image_id"]}, which is not in the file')
    if record['category_id'] not in categories:
        raise ValueError(f'{name} has category {record["category_id"]}, which is not in the file')
    box = record['bbox']
    if len(box) != 4 or not all(math.isfinite(value) for value in box) or min(box[2:]) < 0:
        raise ValueError(f'{name} must have a box of x, y, width >= 0 and height >= 0, got {box}')

"""Checks of COCO annotations: ids, categories, boxes, masks, and the images they speak of."""

import json
import math
from collections import Counter
from functools import partial
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmengine.fileio import get_text
from pycocotools import mask as rle_tools

from .faults import Fault, each, read_size

__all__ = ['check_detection']

# How far, in pixels, a box may reach over the edge of its image: COCO's own do by a fraction.
MARGIN = 1.0
KEYS = ('images', 'annotations', 'categories')


def check_detection(
    dataset: CocoDataset, num_classes: int, workers: int = 0, progress: bool = False
) -> list[Fault]:
    """Reads a COCO annotation file and every image it names.

    Args:
        dataset: The data set; it need not be initialised.
        num_classes: How many classes the model has.
        workers: Threads that read; 0 for none.
        progress: Whether to show a progress bar.

    Returns:
        All faults: classes that do not fit the model or the categories, an empty split, ids that
        occur twice or refer to nothing, boxes without area or outside their image, broken masks,
        images that are missing, unreadable or of another size than their record says.

    Raises:
        ValueError: For a data set that is not in COCO's format.
    """
    if not isinstance(dataset, CocoDataset):
        kind = type(dataset).__name__
        raise ValueError(f'detection data must be a CocoDataset to be checked, got {kind}')
    path = dataset.ann_file
    try:
        content = json.loads(get_text(path))
    except ValueError as error:
        return [Fault(path, f'the annotations are not JSON: {error}')]
    absent = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if absent:
        return [Fault(path, f'the annotations must have {", ".join(KEYS)}; missing: {absent}')]
    problems = _check_classes(content, dataset.metainfo.get('classes'), num_classes)
    problems += _check_ids(content)
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        name = f'annotation {annotation.get("id")}'
        problems += [
            f'{name}: {problem}' for problem in _check_annotation(annotation, images, categories)
        ]
    check = partial(_check_image, folder=dataset.data_prefix.get('img', ''))
    faults = [Fault(path, problem) for problem in problems]
    return faults + each(check, content['images'], workers, progress)


def _check_classes(content: dict, classes: tuple[str, ...] | None, num_classes: int) -> list[str]:
    problems = [] if content['images'] else ['the split is empty: no images']
    if classes is None:
        return problems
    if len(classes) != num_classes:
        problems.append(f'the data set must name the {num_classes} classes of the model, '
                        f'got {len(classes)}')  # fmt: skip
    names = {category['name'] for category in content['categories']}
    absent = [name for name in classes if name not in names]
    if absent:
        problems.append(f'no category has the name of these classes: {", ".join(absent)}')
    unused = sorted(names - set(classes))
    if unused:
        problems.append(f'no class has the name of these categories: {", ".join(unused)}')
    return problems


def _check_ids(content: dict) -> list[str]:
    problems = []
    for key in KEYS:
        counts = Counter(item.get('id') for item in content[key])
        problems += [f'{key}: id {i} occurs {n} times' for i, n in counts.items() if n > 1]
    return problems


def _check_annotation(annotation: dict, images: dict, categories: set) -> list[str]:
    problems = []
    if annotation.get('category_id') not in categories:
        problems.append(f'there is no category {annotation.get("category_id")}')
    image = images.get(annotation.get('image_id'))
    if image is None:
        return [*problems, f'there is no image {annotation.get("image_id")}']
    size = image['width'], image['height']
    problems += _check_box(annotation.get('bbox'), *size)
    if annotation.get('segmentation'):
        problems += _check_mask(annotation['segmentation'], *size)
    return [f'{problem} ({image["file_name"]})' for problem in problems]


def _check_box(box: list | None, width: int, height: int) -> list[str]:
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        return [f'the box must be four numbers, got {box}']
    left, top, box_width, box_height = box
    if box_width <= 0 or box_height <= 0:
        return [f'the box {box} has no area']
    beyond = max(-left, -top, left + box_width - width, top + box_height - height)
    if beyond > MARGIN:
        return [f'the box {box} reaches {beyond:g} pixels outside of {width} x {height}']
    return []


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_mask(mask: list | dict, width: int, height: int) -> list[str]:
    if isinstance(mask, dict):
        return _check_run_lengths(mask, width, height)
    for polygon in mask:
        is_list = isinstance(polygon, list)
        if not is_list or len(polygon) < 6 or len(polygon) % 2:
            points = len(polygon) if is_list else polygon
            return [f'a polygon must be three or more pairs of numbers, got {points}']
        if not all(_is_finite(value) for value in polygon):
            return ['a polygon holds what is not a number']
    if not rle_tools.area(rle_tools.merge(rle_tools.frPyObjects(mask, height, width))):
        return ['the mask is empty']
    return []


def _check_run_lengths(mask: dict, width: int, height: int) -> list[str]:
    size, counts = mask.get('size'), mask.get('counts')
    if size != [height, width]:
        return [f'the mask is made for [height, width] {size}, the image has [{height}, {width}]']
    if isinstance(counts, list):
        if sum(counts) != width * height:
            return [f'the run lengths must add up to {width * height}, got {sum(counts)}']
        mask = rle_tools.frPyObjects(mask, height, width)
    elif not isinstance(counts, str | bytes):
        return [f'the run lengths must be a list or a string, got {type(counts).__name__}']
    return [] if rle_tools.area(mask) else ['the mask is empty']


def _check_image(record: dict, folder: str) -> list[Fault]:
    path = str(Path(folder, record['file_name'])) if '://' not in folder else (
        f'{folder.rstrip("/")}/{record["file_name"]}'
    )  # fmt: skip
    size, faults = read_size(path)
    expected = record.get('width'), record.get('height')
    if size is not None and size != expected:
        sizes = f'{size[0]} x {size[1]}, its record says {expected[0]} x {expected[1]}'
        faults.append(Fault(path, f'the image is {sizes}'))
    return faults

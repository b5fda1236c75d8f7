"""Looking through a COCO annotation file before it is trained on or counted with.

Whatever stands in the file, nothing of it has reached compiled code yet: COCO's tools turn
coordinates and run lengths into addresses without looking at them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from mmengine.fileio import get

from .checks.faults import Fault
from .coco_masks import mask_problems
from .errors import AnnotationError
from .image_files import size_problem
from .numbers import is_number, is_whole

__all__ = [
    'annotation_faults',
    'check_annotations',
    'missing_images',
    'read_annotations',
    'sound_images',
]

TABLES = ('images', 'categories', 'annotations')
KEYS = ('image_id', 'category_id', 'bbox', 'area', 'iscrowd')
# How far, in pixels, a box may reach over the edge of its image: COCO's own do by a fraction.
MARGIN = 1.0
LARGEST_ID = 2**63 - 1

Size = tuple[int, int]


def read_annotations(path: str, backend_args: dict | None = None) -> Any:
    """Reads and parses an annotation file.

    Args:
        path: The file.
        backend_args: How mmengine reads it.

    Raises:
        AnnotationError: It is not JSON.
    """
    data = get(path, backend_args=backend_args)
    try:
        return json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{path}: the file is not JSON: {error}') from error


def check_annotations(
    content: Any,
    source: str,
    classes: Sequence[str] | None = None,
    with_masks: bool = False,
    with_files: bool = False,
    strict: bool = True,
) -> list[Fault]:
    """Refuses what COCO's tools would trip over or silently get wrong; see `annotation_faults`.

    Returns:
        The notes.

    Raises:
        AnnotationError: Naming the file, the record and what is wrong with it.
    """
    notes = []
    for fault in annotation_faults(content, source, classes, with_masks, with_files, strict):
        if not fault.is_note:
            raise AnnotationError(str(fault))
        notes.append(fault)
    return notes


def annotation_faults(
    content: Any,
    source: str,
    classes: Sequence[str] | None = None,
    with_masks: bool = False,
    with_files: bool = False,
    strict: bool = True,
) -> Iterator[Fault]:
    """Finds everything that is wrong with the content of an annotation file.

    Training and evaluation stop at the first that is not a note; `check_dataset.py` lists all.
    Notes are what mmdet leaves out of training: boxes without area, polygons of two points,
    categories that are not among the classes.

    Args:
        content: What the file holds.
        source: The file's name.
        classes: Names that the model predicts, in its order; None for any.
        with_masks: Whether every annotation needs a mask.
        with_files: Whether every image needs the name of its file.
        strict: Whether what can be counted with, but is hardly meant so, is more than a note:
            categories in another order than the classes, boxes and polygons far outside of their
            image, masks of another size.
    """
    broken = _table_problem(content)
    if broken:
        yield Fault(source, broken)
        return
    records = {table: content.get(table, []) for table in TABLES}
    if not records['images']:
        yield Fault(source, 'the split is empty: no images')
    for table in TABLES:
        for problem in _id_problems(records[table], table):
            yield Fault(source, problem)
    sizes: dict[int, Size | None] = {}
    for record in filter(_has_id, records['images']):
        problems = _image_problems(record, with_files)
        # Without the name of its file, an image still bounds its annotations.
        has_size = not any(_image_problems(record, with_files=False))
        sizes[record['id']] = (record['width'], record['height']) if has_size else None
        yield from (Fault(source, f'image {record["id"]} {problem}') for problem in problems)
    yield from _category_faults(records['categories'], classes, source, strict)
    categories = {record['id'] for record in records['categories'] if _has_id(record)}
    for record in filter(_has_id, records['annotations']):
        for problem, is_note in _annotation_problems(record, sizes, categories, with_masks, strict):
            yield Fault(source, f'annotation {record["id"]} {problem}', is_note)


def sound_images(content: Any) -> list[dict]:
    """The records of images in which there is nothing wrong."""
    if _table_problem(content):
        return []
    records = filter(_has_id, content['images'])
    return [record for record in records if not any(_image_problems(record, with_files=True))]


def missing_images(images: list[dict], source: str, folder: str) -> dict[int, Fault]:
    """Finds sound records of images that are not in a local folder.

    Each folder is listed once: asking for every file is slow on a network.

    Returns:
        The faults by the ids of their images.
    """
    found: dict[Path, set[str]] = {}
    faults = {}
    for record in images:
        path = Path(folder, record['file_name'])
        if path.parent not in found:
            entries = path.parent.iterdir() if path.parent.is_dir() else ()
            found[path.parent] = {entry.name for entry in entries}
        if path.name not in found[path.parent]:
            problem = f'image {record["id"]} is not there: {path}'
            faults[record['id']] = Fault(source, problem)
    return faults


def _table_problem(content: object) -> str:
    if not isinstance(content, dict):
        return f'the file must hold an object, as COCO annotations do, got {brief(content)}'
    for table in TABLES:
        # Files of images to be predicted on have no annotations.
        if table not in content and table != 'annotations':
            return f'the file has no list {table!r}: it is not a COCO annotation file'
        if not isinstance(content.get(table, []), list):
            return f'{table!r} must be a list, got {brief(content[table])}'
    return ''


def _has_id(record: Any) -> bool:
    return (
        isinstance(record, dict) and is_whole(record.get('id')) and abs(record['id']) <= LARGEST_ID
    )


def _id_problems(records: list, table: str) -> Iterator[str]:
    kind = {'images': 'image', 'categories': 'category', 'annotations': 'annotation'}[table]
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            yield f'{kind} number {position} must be an object, got {brief(record)}'
        elif 'id' not in record:
            yield f'{kind} number {position} has no id'
        elif not _has_id(record):
            number = brief(record['id'])
            yield f'{kind} number {position} must have a whole number as id, got {number}'
    counts = Counter(record['id'] for record in records if _has_id(record))
    for number, count in counts.items():
        if count > 1:
            yield f'{kind} id {number} occurs {count} times'


def _image_problems(record: dict, with_files: bool) -> Iterator[str]:
    if not {'width', 'height'} <= set(record):
        yield 'lacks width or height'
    else:
        size = record['width'], record['height']
        if not all(is_whole(edge) and edge > 0 for edge in size):
            yield f'must have whole numbers above 0 as width and height, got {brief(size)}'
        elif size_problem(*size):
            yield f'cannot be right: {size_problem(*size)}'
    if with_files and 'file_name' not in record:
        yield 'lacks file_name'
    elif with_files and not (isinstance(record['file_name'], str) and record['file_name']):
        yield f'must have the name of a file as file_name, got {brief(record["file_name"])}'


def _category_faults(
    records: list, classes: Sequence[str] | None, source: str, strict: bool
) -> Iterator[Fault]:
    names = []
    for record in filter(_has_id, records):
        if isinstance(record.get('name'), str):
            names.append(record['name'])
        else:
            problem = f'must have a name, got {brief(record.get("name"))}'
            yield Fault(source, f'category {record["id"]} {problem}')
    if classes is None:
        return
    absent = [name for name in classes if name not in names]
    if absent:
        problem = f"lacks the classes {absent} of the model's data set; its categories are {names}"
        yield Fault(source, f'the file {problem}')
    others = sorted(set(names) - set(classes))
    if others:
        problem = f'no class has the name of these categories: {", ".join(others)}'
        yield Fault(source, problem, is_note=True)
    # mmdet counts the labels in the order of the file and names them in that of the config.
    own = [name for name in names if name in classes]
    if not absent and own != list(classes):
        yield Fault(
            source,
            'the file must have the categories in the order of the classes of the config, '
            f'{list(classes)}, got {own}',
            is_note=not strict,
        )


def _annotation_problems(
    record: dict,
    sizes: dict[int, Size | None],
    categories: set,
    with_masks: bool,
    strict: bool,
) -> Iterator[tuple[str, bool]]:
    """What is wrong with an annotation, and whether that is a note."""
    missing = [key for key in KEYS if key not in record]
    if missing:
        yield f'lacks {missing}', False
        return
    image, category = record['image_id'], record['category_id']
    if not is_whole(category) or category not in categories:
        yield f'has category {brief(category)}, which is not in the file', False
    if not is_number(record['area']):
        yield f'must have a number as area, got {brief(record["area"])}', False
    if record['iscrowd'] not in (0, 1):
        yield f'must have an iscrowd of 0 or 1, got {brief(record["iscrowd"])}', False
    if not is_whole(image) or image not in sizes:
        yield f'belongs to image {brief(image)}, which is not in the file', False
        return
    size = sizes[image]
    if size is None:
        return
    yield from _box_problems(record['bbox'], size, strict)
    mask = record.get('segmentation')
    if with_masks or mask:
        yield from mask_problems(mask, *size, strict)


def _box_problems(box: Any, size: Size, strict: bool) -> Iterator[tuple[str, bool]]:
    sound = isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
    if not sound or min(box[2:]) < 0:
        yield f'must have a box of x, y, width >= 0 and height >= 0, got {brief(box)}', False
        return
    left, top, width, height = box
    beyond = max(-left, -top, left + width - size[0], top + height - size[1])
    if beyond > MARGIN:
        # Beyond the size of the image once more, it is in other units or of another image.
        is_note = beyond <= max(size) or not strict
        yield f'has a box {box} that reaches {beyond:g} pixels outside of {_text(size)}', is_note
    if min(width, height) == 0:
        yield f'has a box {box} without area, which is left out', True


def _text(size: Size) -> str:
    return f'{size[0]} x {size[1]}'

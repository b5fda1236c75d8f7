"""YOLO's labels, a text file for each image, as annotations of COCO's form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief

import yaml

from .errors import AnnotationError, ImageError
from .image_files import DECODE_ERRORS, is_image_name, oriented_size

__all__ = ['YoloData', 'coco_annotations', 'read_yolo']

# How far a coordinate may reach over the edge of its image, as a fraction of it.
MARGIN = 0.01


@dataclass(frozen=True)
class YoloData:
    """What a ``data.yaml`` describes.

    Args:
        classes: Names of the classes, in the order of their numbers.
        train: Images for training.
        val: Images for validation.
    """

    classes: tuple[str, ...]
    train: list[Path]
    val: list[Path]


def read_yolo(file: Path) -> YoloData:
    """Reads a ``data.yaml`` and lists the images that it names.

    Args:
        file: Its path.

    Raises:
        AnnotationError: It is none, lacks a split or the names, or its images are not found.
    """
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AnnotationError('the file is not YAML', path=str(file)) from error
    if not isinstance(content, dict):
        raise AnnotationError(
            f'the file must have the keys train, val and names, got {brief(content)}',
            path=str(file),
        )
    images = {}
    for split, keys in (('train', ('train',)), ('val', ('val', 'valid'))):
        places = next((content[key] for key in keys if content.get(key)), None)
        if places is None:
            raise AnnotationError(f'the file has no key {split!r}', path=str(file))
        places = places if isinstance(places, list) else [places]
        images[split] = [
            image for place in places for image in _images(_locate(file, content, place))
        ]
        if not images[split]:
            raise AnnotationError(f'no images in {places} of the key {split!r}', path=str(file))
    return YoloData(_names(file, content), images['train'], images['val'])


def _names(file: Path, content: dict) -> tuple[str, ...]:
    names = content.get('names')
    if names is None and isinstance(content.get('nc'), int):
        names = list(range(content['nc']))
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            problem = f'names must be numbered from 0, got {brief(sorted(names, key=str))}'
            raise AnnotationError(problem, path=str(file))
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise AnnotationError('the file has no list of names', path=str(file))
    if len(set(map(str, names))) < len(names):
        raise AnnotationError(f'names must differ, got {names}', path=str(file))
    return tuple(map(str, names))


def _locate(file: Path, content: dict, place: object) -> Path:
    """The folder or list of images that is meant.

    Paths begin at the entry ``path``, which itself may begin anywhere, or beside the file. Some
    tools write ``../`` before paths that begin beside it.
    """
    tried = [
        file.parent / str(content.get('path') or '') / str(place),
        file.parent / str(place),
        file.parent / str(place).removeprefix('../'),
    ]
    for path in tried:
        if path.exists():
            return path
    raise AnnotationError(f'there is no {place}, tried {tried[0]} and {tried[-1]}', path=str(file))


def _images(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob('*') if is_image_name(path.name))
    lines = [line.strip() for line in place.read_text().splitlines()]
    # A list's paths begin beside it, as a rule with `./`.
    return [place.parent / line for line in lines if line]


def coco_annotations(images: Sequence[Path], classes: Sequence[str], root: Path) -> dict:
    """Reads the labels of images.

    Args:
        images: The images; one without a label file has no objects.
        classes: Names of the classes.
        root: Where the paths of the images begin in the result, as far as they are below it.

    Returns:
        The content of an annotation file of COCO. Outlines become masks if every object has one.

    Raises:
        AnnotationError: A line of a label file is none.
        ImageError: An image cannot be read.
    """
    records: list[dict] = []
    annotations: list[dict] = []
    for number, image in enumerate(images):
        width, height = _size(image)
        name = image.relative_to(root) if image.is_relative_to(root) else image
        records.append(dict(id=number, file_name=str(name), width=width, height=height))
        for label, points in _objects(_label_file(image), len(classes)):
            annotation = _annotation(points, width, height)
            annotation |= dict(id=len(annotations), image_id=number, category_id=label, iscrowd=0)
            annotations.append(annotation)
    if not all('segmentation' in annotation for annotation in annotations):
        for annotation in annotations:
            annotation.pop('segmentation', None)
    categories = [dict(id=number, name=name) for number, name in enumerate(classes)]
    return dict(images=records, categories=categories, annotations=annotations)


def _size(image: Path) -> tuple[int, int]:
    try:
        return oriented_size(image.read_bytes())
    except DECODE_ERRORS as error:
        raise ImageError(f'the image cannot be read: {error}', path=str(image)) from error


def _label_file(image: Path) -> Path:
    """The file of an image's labels: in ``labels`` where the image is in ``images``."""
    parts = list(image.parent.parts)
    for place in reversed(range(len(parts))):
        if parts[place] == 'images':
            parts[place] = 'labels'
            break
    return Path(*parts, f'{image.stem}.txt')


def _objects(file: Path, num_classes: int) -> Iterator[tuple[int, list[float]]]:
    """Class and numbers of each object: centre and size of a box, or the points of an outline."""
    lines = file.read_text().splitlines() if file.is_file() else ()
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, *numbers = map(float, line.split())
        except ValueError:
            label, numbers = 0, []
        problem = _line_problem(label, numbers, num_classes)
        if problem:
            raise AnnotationError(f'line {place} {problem}, got {brief(line)}', path=str(file))
        yield int(label), numbers


def _line_problem(label: float, numbers: list[float], num_classes: int) -> str:
    """What is wrong with the line of an object; '' if it can be used."""
    is_box = len(numbers) == 4
    if len(numbers) < 4 or len(numbers) % 2 or (is_box and min(numbers[2:]) < 0):
        return 'must be a class and 4 numbers of a box, or 6 or more of an outline'
    if label not in range(num_classes):
        return f'must have a class from 0 to {num_classes - 1}'
    if not all(-MARGIN <= number <= 1 + MARGIN for number in numbers):
        return 'must have fractions of the image, from 0 to 1'
    return ''


def _annotation(numbers: list[float], width: int, height: int) -> dict:
    """Box, area and outline in pixels."""
    if len(numbers) == 4:
        x, y, w, h = (n * size for n, size in zip(numbers, (width, height) * 2, strict=True))
        return dict(bbox=_rounded([x - w / 2, y - h / 2, w, h]), area=w * h)
    xs = [number * width for number in numbers[::2]]
    ys = [number * height for number in numbers[1::2]]
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    outline = [value for point in zip(xs, ys, strict=True) for value in point]
    return dict(bbox=_rounded(box), area=abs(twice) / 2, segmentation=[_rounded(outline)])


def _rounded(numbers: list[float]) -> list[float]:
    return [round(number, 3) for number in numbers]

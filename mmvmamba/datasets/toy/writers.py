"""The generated data sets on disk: COCO's, ADE20K's and ImageNet's layout."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from .annotations import mask_to_polygons, mask_to_rle
from .scenes import SceneObject, draw_scene, random_size
from .shapes import SHAPES

__all__ = [
    'CLS_CLASSES',
    'DET_CATEGORIES',
    'SEG_CLASSES',
    'write_ade20k',
    'write_coco',
    'write_imagenet',
]

# Category ids with a gap, as COCO's own have.
DET_CATEGORIES = {'disc': 1, 'square': 2, 'triangle': 4}
SEG_CLASSES = ('background', 'disc', 'square', 'triangle', 'cross')
CLS_CLASSES = tuple(SHAPES)
# As grass is green, so a class of the segmentation data has a colour: a few hundred steps teach it.
SEG_HUES = {'disc': 0.0, 'square': 0.5, 'triangle': 0.25, 'cross': 0.75}

GREY_SHARE = 0.1
EMPTY_SHARE = 0.05
CROWD_PROBABILITY = 0.1


def _save_image(rng: np.random.Generator, image: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(image)
    if rng.uniform() < GREY_SHARE:
        picture = picture.convert('L')
    picture.save(path, 'JPEG', quality=92)


def _save_corrupted(path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8))
    picture.save(path, 'JPEG')
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 40])


def _coco_annotation(item: SceneObject, image_id: int, annotation_id: int) -> dict:
    rows, columns = np.flatnonzero(item.mask.any(1)), np.flatnonzero(item.mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    polygons = None if item.is_crowd else mask_to_polygons(item.mask)
    return dict(
        id=annotation_id,
        image_id=image_id,
        category_id=DET_CATEGORIES[item.name],
        bbox=box,
        area=int(np.count_nonzero(item.mask)),
        iscrowd=int(item.is_crowd),
        segmentation=polygons or mask_to_rle(item.mask),
    )


def write_coco(root: Path, split: str, count: int, seed: int, with_corrupted: bool = False) -> None:
    """Writes ``<split>2017/*.jpg`` and ``annotations/instances_<split>2017.json``.

    Args:
        root: Folder of the data set.
        split: 'train' or 'val'.
        count: Number of images.
        seed: The same seed gives the same files.
        with_corrupted: Adds one record whose image file breaks off early.
    """
    folder = root / f'{split}2017'
    folder.mkdir(parents=True, exist_ok=True)
    (root / 'annotations').mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id in range(1, count + 1):
        size = random_size(rng)
        num_objects = 0 if rng.uniform() < EMPTY_SHARE else int(rng.integers(1, 6))
        crowd = CROWD_PROBABILITY if num_objects else 0.0
        image, objects = draw_scene(rng, size, tuple(DET_CATEGORIES), num_objects, crowd)
        name = f'{image_id:012d}.jpg'
        _save_image(rng, image, folder / name)
        images.append(dict(id=image_id, file_name=name, height=size[0], width=size[1]))
        for item in objects:
            annotations.append(_coco_annotation(item, image_id, len(annotations) + 1))
    if with_corrupted:
        _save_corrupted(folder / 'corrupted.jpg')
        images.append(dict(id=count + 1, file_name='corrupted.jpg', height=64, width=64))
    content = dict(
        info=dict(description='Generated shapes', version='1'),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=name) for name, i in DET_CATEGORIES.items()],
    )
    path = root / 'annotations' / f'instances_{split}2017.json'
    path.write_text(json.dumps(content))


def write_ade20k(
    root: Path, split: str, count: int, seed: int, with_corrupted: bool = False
) -> None:
    """Writes ``images/<split>/*.jpg`` and ``annotations/<split>/*.png``.

    Label 0 is "no class", as in ADE20K.

    Args:
        root: Folder of the data set.
        split: 'training' or 'validation'.
        count: Number of images.
        seed: The same seed gives the same files.
        with_corrupted: Adds one pair whose image file breaks off early.
    """
    images, labels = root / 'images' / split, root / 'annotations' / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(1, count + 1):
        size = random_size(rng)
        num_objects = 0 if rng.uniform() < EMPTY_SHARE else int(rng.integers(1, 6))
        image, objects = draw_scene(rng, size, SEG_CLASSES[1:], num_objects, hues=SEG_HUES)
        label = np.ones(size, np.uint8)
        label[: int(rng.integers(0, 6))] = 0
        for item in objects:
            label[item.mask] = 1 + SEG_CLASSES.index(item.name)
        name = f'ADE_{split[:5]}_{index:08d}'
        _save_image(rng, image, images / f'{name}.jpg')
        Image.fromarray(label).save(labels / f'{name}.png')
    if with_corrupted:
        _save_corrupted(images / 'corrupted.jpg')
        Image.fromarray(np.ones((64, 64), np.uint8)).save(labels / 'corrupted.png')


def write_imagenet(
    root: Path, split: str, count: int, seed: int, with_corrupted: bool = False
) -> None:
    """Writes ``<split>/<class>/*.JPEG``, one folder a class, and the list ``meta/<split>.txt``.

    Args:
        root: Folder of the data set.
        split: 'train' or 'val'.
        count: Number of images, spread evenly over the classes.
        seed: The same seed gives the same files.
        with_corrupted: Adds one file to the first class that breaks off early.
    """
    rng = np.random.default_rng(seed)
    (root / 'meta').mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        label = index % len(CLS_CLASSES)
        name = CLS_CLASSES[label]
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        objects: list[SceneObject] = []
        while not objects:
            image, objects = draw_scene(rng, random_size(rng), (name,), 1, is_portrait=True)
        file_name = f'{name}_{index // len(CLS_CLASSES):06d}.JPEG'
        _save_image(rng, image, folder / file_name)
        lines.append(f'{name}/{file_name} {label}')
    if with_corrupted:
        _save_corrupted(root / split / CLS_CLASSES[0] / 'corrupted.JPEG')
        lines.append(f'{CLS_CLASSES[0]}/corrupted.JPEG 0')
    (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines) + '\n')

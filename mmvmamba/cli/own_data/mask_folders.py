"""Images and masks: an image file and, in another folder, one whose pixels are classes."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from mmengine.config import Config
from PIL import Image

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.inputs import IMAGES
from mmvmamba.datasets.image_files import DECODE_ERRORS
from mmvmamba.datasets.label_maps import labels_in

from .found import HEAD, VALIDATION, FoundData, Settings, first_folder, incomplete
from .source import model_changes, source

__all__ = ['LOOKED_FOR', 'MaskFolders', 'find']

LAYOUT = 'images and masks'
LOOKED_FOR = (
    'DIR/images and DIR/masks (or annotations, labels), each with the folders train and val (or '
    'training and validation) or without; or the two in DIR/train and DIR/val'
)
MASKS = ('masks', 'annotations', 'labels', 'mask', 'label', 'segmentation')
SPLITS = (('train', 'training'), (*VALIDATION, 'test'))
NAMES = 'classes.txt'
# Of images that are not split, one in so many is for validation.
HELD_OUT = 5
IGNORED = 255

CONFIG = (
    HEAD
    + """classes = {classes!r}
num_classes = len(classes)
batch_size = {batch_size}
epochs = {epochs}
steps = epochs * {steps_of_epoch}

model = {changes}
dataset = dict(
    _delete_=True,
    type={dataset_type!r},{note}
    data_root=data_root,
    metainfo=dict(classes=classes),
    img_suffix={img_suffix!r},
    seg_map_suffix={mask_suffix!r},
    reduce_zero_label={without_zero},  # True if 0 in the masks means "no class"
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers={workers},
    persistent_workers={persistent},
    dataset=dict({train_list}
        data_prefix=dict(img_path={train_places[0]!r}, seg_map_path={train_places[1]!r}),
        pipeline={{{{_base_.train_pipeline}}}},
        **dataset,
    ),
)
val_dataloader = dict(
    num_workers={workers},
    persistent_workers={persistent},
    dataset=dict({val_list}
        data_prefix=dict(img_path={val_places[0]!r}, seg_map_path={val_places[1]!r}),
        pipeline={{{{_base_.test_pipeline}}}},
        **dataset,
    ),
)
test_dataloader = val_dataloader

# Of {base_batch} images a step {rate:g}, and in proportion to the root of their number.
optim_wrapper = dict(optimizer=dict(lr={rate:g} * (batch_size / {base_batch}) ** 0.5))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end={warmup}),
    dict(type='PolyLR', power=1.0, by_epoch=False, begin=0, end=steps),
]
train_cfg = dict(max_iters=steps, val_interval=max(1, steps // 10))
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=max(1, steps // 10)))
"""
)
BINARY_NOTE = f'  # the masks hold 0 and {IGNORED}, and {IGNORED} is the second class'
# Norms of a batch need two images.
BATCH_SIZES = (2, 4)


@dataclass(frozen=True)
class Labels:
    """What the values of the masks mean.

    Args:
        classes: Names of the classes.
        without_zero: Whether 0 means that a pixel has no class.
        binary: Whether 255 is a class, the second of two.
    """

    classes: tuple[str, ...]
    without_zero: bool = False
    binary: bool = False


@dataclass(frozen=True)
class MaskFolders(FoundData):
    """Folders of images and of masks.

    Args:
        train_places: Folders of images and of masks for training, from the root.
        val_places: Those for validation.
        suffixes: How the names of images and of masks end.
        labels: What their values mean.
    """

    train_places: tuple[str, str]
    val_places: tuple[str, str]
    suffixes: tuple[str, str]
    labels: Labels

    layout: ClassVar[str] = LAYOUT
    task: ClassVar[str] = 'segmentation'

    def __str__(self) -> str:
        if not self.labels.binary:
            return super().__str__()
        background, foreground = self.classes
        return f'{super().__str__()}; in the masks 0 is {background}, {IGNORED} {foreground}'

    def config(self, settings: Settings) -> str:
        """Fine-tunes a segmentor."""
        cfg = Config.fromfile(settings.entry.config, import_custom_modules=False)
        smallest, largest = BATCH_SIZES
        batch_size = max(smallest, min(largest, self.train // 4))
        lists = {
            f'{split}_list': self._list(f'{split}.txt', settings) for split in ('train', 'val')
        }
        return CONFIG.format(
            **self.common(settings, batch_size),
            **lists,
            changes=source(model_changes(cfg, settings)),
            steps_of_epoch=math.ceil(self.train / batch_size),
            train_places=self.train_places,
            val_places=self.val_places,
            img_suffix=self.suffixes[0],
            mask_suffix=self.suffixes[1],
            without_zero=self.labels.without_zero,
            dataset_type='mmvmamba.BinaryMaskDataset' if self.labels.binary else 'BaseSegDataset',
            note=BINARY_NOTE if self.labels.binary else '',
            rate=cfg.optim_wrapper.optimizer.lr,
            base_batch=cfg.auto_scale_lr.base_batch_size,
        )

    def _list(self, name: str, settings: Settings) -> str:
        """The line that names the list of a split's images, if there is one."""
        if name not in self.files:
            return ''
        return f'\n        ann_file={str(settings.path.parent.resolve() / name)!r},'


def find(root: Path) -> MaskFolders | None:
    """Looks for folders of images and of masks.

    Returns:
        None if there are none.

    Raises:
        UserError: There are, but not for both splits, or the masks are none.
    """
    places = _places(root)
    if places is None:
        return None
    names = [_images(root / images) for images, _ in places]
    if not all(names):
        empty = next(images for (images, _), found in zip(places, names, strict=True) if not found)
        raise incomplete(root, LAYOUT, f'{empty} has no images', LOOKED_FOR)
    suffixes = _suffixes(root, places[0], names[0])
    stems = [[name.removesuffix(suffixes[0]) for name in found] for found in names]
    labels = _labels(root, places, stems, suffixes[1])
    files = {}
    if len(places) == 1:
        held_out = stems[0][HELD_OUT - 1 :: HELD_OUT] or stems[0][-1:]
        rest = [stem for stem in stems[0] if stem not in set(held_out)] or held_out
        stems, places = [rest, held_out], places * 2
        files = {
            f'{split}.txt': ''.join(f'{stem}\n' for stem in found)
            for split, found in zip(('train', 'val'), stems, strict=True)
        }
    return MaskFolders(
        root,
        labels.classes,
        len(stems[0]),
        len(stems[1]),
        train_places=places[0],
        val_places=places[1],
        suffixes=suffixes,
        labels=labels,
        files=files,
    )


def _places(root: Path) -> list[tuple[str, str]] | None:
    """Folders of images and of masks of each split, or of all images if they are not split."""
    masks = first_folder(root, MASKS)
    if masks and (root / 'images').is_dir():
        splits = [first_folder(root / 'images', names) for names in SPLITS]
        if not any(splits):
            return [('images', masks)]
        if not all(splits):
            missing = 'training' if splits[0] is None else 'validation'
            raise incomplete(root, LAYOUT, f'none for {missing}', LOOKED_FOR)
        return [(f'images/{split}', f'{masks}/{split}') for split in splits]
    folders = [first_folder(root, names) for names in SPLITS]
    pairs = [
        (f'{folder}/images', f'{folder}/{masks}')
        for folder in folders
        if folder and (root / folder / 'images').is_dir()
        if (masks := first_folder(root / folder, MASKS))
    ]
    if len(pairs) == 1:
        missing = 'validation' if pairs[0][0].startswith(tuple(SPLITS[0])) else 'training'
        raise incomplete(root, LAYOUT, f'none for {missing}', LOOKED_FOR)
    return pairs or None


def _images(folder: Path) -> list[str]:
    """Paths of the images of a folder, from it."""
    files = (file for file in folder.rglob('*') if file.suffix.lower() in IMAGES)
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _suffixes(root: Path, places: tuple[str, str], names: Sequence[str]) -> tuple[str, str]:
    """How all images end, and what the masks have in place of it.

    Raises:
        UserError: The images differ in that, or the first has no mask.
    """
    endings = Counter(Path(name).suffix for name in names)
    if len(endings) > 1:
        counts = ', '.join(f'{count} in {ending}' for ending, count in endings.most_common())
        raise UserError(
            f'--data {root}: the images in {places[0]} must all end alike, there are {counts}'
        )
    (ending,) = endings
    first = names[0].removesuffix(ending)
    folder = root / places[1]
    masks = sorted(path for path in (folder / first).parent.glob('*.png'))
    for mask in masks:
        name = mask.relative_to(folder).as_posix()
        if name.startswith(first) and not name[len(first)].isalnum():
            return ending, name[len(first) :]
    raise UserError(
        f'--data {root}: {places[0]}/{names[0]} has no mask; looked for a PNG in {places[1]} whose '
        f'name begins with {first}'
    )


def _labels(
    root: Path, places: list[tuple[str, str]], stems: list[list[str]], suffix: str
) -> Labels:
    """Finds out what the values of the masks mean.

    Raises:
        UserError: The masks do not fit the names, hold nothing to tell apart, or are none.
    """
    values: set[int] = set()
    for (_, folder), found in zip(places, stems, strict=True):
        for stem in found:
            values |= _values(root / folder / f'{stem}{suffix}')
    file = root / NAMES
    lines = file.read_text().splitlines() if file.is_file() else []
    names = tuple(filter(None, map(str.strip, lines)))
    if len(values) == 1:
        raise UserError(
            f'--data {root}: the masks hold {values.pop()} alone: there is nothing to tell apart'
        )
    if values == {0, IGNORED}:
        return Labels(_binary_classes(names, file), binary=True)
    largest, counted = max(values - {IGNORED}), len(values - {IGNORED})
    if not names and largest >= 2 * counted:
        raise UserError(
            f'--data {root}: the masks hold {counted} values, up to {largest}; if these are the '
            f'numbers of classes, name all classes, from 0 on, in {NAMES} there, one a line; else '
            'number them from 0'
        )
    if not names:
        return Labels(tuple(map(str, range(largest + 1))))
    if largest > len(names):
        raise UserError(
            f'{file} names {len(names)} classes, but the masks hold labels up to {largest}'
        )
    return Labels(names, without_zero=largest == len(names))


def _binary_classes(names: tuple[str, ...], file: Path) -> tuple[str, ...]:
    """Names of the two classes of masks of 0 and 255; a file may name the foreground alone."""
    if len(names) > 2:
        raise UserError(
            f'{file} names {len(names)} classes, but the masks hold 0 and {IGNORED} alone, which '
            'are two: the background and one more'
        )
    return names if len(names) == 2 else ('background', *(names or ('foreground',)))


def _values(path: Path) -> set[int]:
    try:
        with Image.open(path) as image:
            mask = np.asarray(image)
    except FileNotFoundError:
        raise UserError(f'mask {path} of the image of this name does not exist') from None
    except DECODE_ERRORS as error:
        raise UserError(f'mask {path} cannot be read: {error}') from error
    if mask.ndim != 2 or mask.max() > IGNORED:
        raise UserError(
            f'mask {path} must have one channel, whose values are the numbers of the classes, 0 to '
            f'{IGNORED}, got {image.mode} of shape {mask.shape}'
        )
    return set(labels_in(mask.astype(np.uint8)))

"""Checks of segmentation data: that images and masks belong together, and what the masks hold."""

from functools import partial
from io import BytesIO

import numpy as np
from mmengine.fileio import exists, get, list_dir_or_file
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from ..image_files import DECODE_ERRORS
from .faults import Fault, each, read_size

__all__ = ['check_segmentation', 'find_unpaired']


def check_segmentation(
    dataset: BaseSegDataset, num_classes: int, workers: int = 0, progress: bool = False
) -> list[Fault]:
    """Reads every image and mask of a data set.

    Args:
        dataset: The data set; it need not be initialised.
        num_classes: How many classes the model has.
        workers: Threads that read; 0 for none.
        progress: Whether to show a progress bar.

    Returns:
        All faults: classes that do not fit the model, an empty split, files without their partner,
        files that cannot be read, masks of another size than their image or of more than one
        channel, and labels that the model has not.
    """
    faults = find_unpaired(dataset)
    classes = dataset.metainfo.get('classes')
    if classes is not None and len(classes) != num_classes:
        problem = f'the data set must name the {num_classes} classes of the model, got'
        faults.append(Fault(dataset.data_prefix['img_path'], f'{problem} {len(classes)}'))
    broken = {fault.path for fault in faults}
    samples = [s for s in dataset.load_data_list() if not broken & {*_paths(s)}]
    loaders = [t for t in dataset.pipeline.transforms if isinstance(t, LoadAnnotations)]
    check = partial(
        _check_pair,
        load=loaders[0] if loaders else LoadAnnotations(),
        num_classes=num_classes,
        ignore_index=dataset.ignore_index,
    )
    return faults + each(check, samples, workers, progress)


def find_unpaired(dataset: BaseSegDataset) -> list[Fault]:
    """Looks for images without a mask, masks without an image and listed files that are missing.

    No file is opened, so this takes about a second for a hundred thousand.

    Returns:
        The faults; an empty split is one.
    """
    samples = dataset.load_data_list()
    folder, mask_folder = (dataset.data_prefix.get(k) for k in ('img_path', 'seg_map_path'))
    if not samples:
        where = dataset.ann_file or folder
        return [Fault(where, f'the split is empty: no image that ends in {dataset.img_suffix}')]
    faults = []
    for sample in samples:
        image, *masks = _paths(sample)
        if not exists(image):
            faults.append(Fault(image, 'the image is listed but missing'))
        faults += [
            Fault(image, f'its mask {mask} is missing') for mask in masks if not exists(mask)
        ]
    if mask_folder is None or dataset.ann_file:
        return faults
    expected = {mask for sample in samples for mask in _paths(sample)[1:]}
    for name in list_dir_or_file(
        mask_folder, list_dir=False, suffix=dataset.seg_map_suffix, recursive=True
    ):
        mask = f'{mask_folder.rstrip("/")}/{name}'
        if mask not in expected:
            faults.append(Fault(mask, f'the mask has no image in {folder}'))
    return faults


def _paths(sample: dict) -> list[str]:
    return [sample[key] for key in ('img_path', 'seg_map_path') if key in sample]


def _check_pair(
    sample: dict, load: LoadAnnotations, num_classes: int, ignore_index: int
) -> list[Fault]:
    size, faults = read_size(sample['img_path'])
    if 'seg_map_path' not in sample:
        return faults
    path = sample['seg_map_path']
    try:
        top = _largest_value(get(path))
        labels = load({**sample, 'seg_fields': []})['gt_seg_map']
    except DECODE_ERRORS as error:
        reason = f'{type(error).__name__}: {error}'
        return [*faults, Fault(path, f'the mask cannot be read: {reason}')]
    if labels.ndim != 2:
        problem = f'the mask must have one channel, got {labels.shape[-1]}'
        return [*faults, Fault(path, problem)]
    height, width = labels.shape
    if size is not None and size != (width, height):
        problem = f'the mask is {width} x {height}, its image {size[0]} x {size[1]}'
        faults.append(Fault(path, problem))
    if top > 255:
        return [*faults, Fault(path, f'labels must be below 256, got {top}')]
    return faults + _check_labels(path, labels, load, num_classes, ignore_index)


def _largest_value(data: bytes) -> float:
    """The largest value in the file, which loading cuts to eight bits."""
    with Image.open(BytesIO(data)) as image:
        return image.getextrema()[1] if len(image.getbands()) == 1 else 0


def _check_labels(
    path: str, labels: np.ndarray, load: LoadAnnotations, num_classes: int, ignore_index: int
) -> list[Fault]:
    counts = np.bincount(labels.ravel(), minlength=256)
    wrong = [i for i in counts.nonzero()[0].tolist() if i >= num_classes and i != ignore_index]
    if not wrong:
        return []
    found = ', '.join(f'{label} ({counts[label]} pixels)' for label in wrong[:5])
    note = ', each 1 more in the file (reduce_zero_label)' if load.reduce_zero_label else ''
    allowed = f'0 to {num_classes - 1} or {ignore_index}'
    return [Fault(path, f'labels must be {allowed}, got {found}{note}')]

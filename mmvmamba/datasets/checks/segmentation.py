"""Checks of segmentation data: that images and masks belong together, and what the masks hold."""

from functools import partial

from mmengine.fileio import exists, list_dir_or_file
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from ..checked_loading import CheckedMask
from ..errors import DataError
from ..label_maps import label_problem, labels_in
from .faults import Fault, class_count_problem, each, read_size

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
    problem = class_count_problem(dataset.metainfo.get('classes'), num_classes)
    if problem:
        faults.append(Fault(dataset.data_prefix['img_path'], problem))
    broken = {fault.path for fault in faults}
    samples = [s for s in dataset.load_data_list() if not broken & {*_paths(s)}]
    steps = dataset.pipeline.transforms
    load = next((step for step in steps if isinstance(step, LoadAnnotations)), LoadAnnotations())
    check = partial(
        _check_pair,
        load=CheckedMask(load),
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
    sample: dict, load: CheckedMask, num_classes: int, ignore_index: int
) -> list[Fault]:
    size, faults = read_size(sample['img_path'])
    if 'seg_map_path' not in sample:
        return faults
    path = sample['seg_map_path']
    shape = None if size is None else (size[1], size[0])
    try:
        mask = load({**sample, 'seg_fields': [], 'ori_shape': shape})['gt_seg_map']
    except DataError as error:
        return [*faults, Fault(path, error.problem)]
    problem = label_problem(
        labels_in(mask), num_classes, ignore_index, sample.get('reduce_zero_label', False)
    )
    return [*faults, Fault(path, problem)] if problem else faults

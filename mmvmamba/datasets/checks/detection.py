"""Checks of COCO annotations: ids, categories, boxes, masks, and the images they speak of."""

from functools import partial
from pathlib import Path

from mmdet.datasets import CocoDataset

from ..coco import local_image_folder, needs_masks
from ..coco_annotations import (
    annotation_faults,
    missing_images,
    read_annotations,
    sound_images,
)
from ..errors import AnnotationError
from .faults import Fault, class_count_problem, each, read_size, record_size_problem

__all__ = ['check_detection']


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
        What training would stop at, in its order, and notes on what it would leave out: ids that
        occur twice or refer to nothing, broken boxes and masks, classes that do not fit the model
        or the categories, images that are missing, unreadable or of another size than their record
        says.

    Raises:
        ValueError: For a data set that is not in COCO's format.
    """
    if not isinstance(dataset, CocoDataset):
        kind = type(dataset).__name__
        raise ValueError(f'detection data must be a CocoDataset to be checked, got {kind}')
    path, classes = dataset.ann_file, dataset.metainfo.get('classes')
    try:
        content = read_annotations(path, dataset.backend_args)
    except AnnotationError as error:
        return [Fault(path, error.problem.removeprefix(f'{path}: '))]
    faults = list(
        annotation_faults(content, path, classes, with_masks=needs_masks(dataset), with_files=True)
    )
    images = sound_images(content)
    folder = local_image_folder(dataset)
    missing = {} if folder is None else missing_images(images, path, folder)
    faults += missing.values()
    problem = class_count_problem(classes, num_classes)
    if problem:
        faults.append(Fault(path, problem))
    present = [image for image in images if image['id'] not in missing]
    check = partial(_check_image, folder=dataset.data_prefix.get('img') or '')
    return faults + each(check, present, workers, progress)


def _check_image(record: dict, folder: str) -> list[Fault]:
    is_local = '://' not in folder
    name = record['file_name']
    path = str(Path(folder, name)) if is_local else f'{folder.rstrip("/")}/{name}'
    size, faults = read_size(path)
    if size is not None:
        problem = record_size_problem(size, (record['width'], record['height']))
        faults += [Fault(path, problem)] if problem else []
    return faults

"""Checks of classification data: images, labels, and the records of databases."""

from collections import Counter
from collections.abc import Iterator

from mmpretrain.datasets import BaseDataset

from mmvmamba.datasets.lmdb.maintenance import verify_lmdb

from ..errors import LMDBDataError
from ..imagenet_lmdb import ImageNetLMDB
from .faults import Fault, class_count_problem, each, loading_problem, read_size

__all__ = ['check_classification', 'label_faults']


def check_classification(
    dataset: BaseDataset, num_classes: int, workers: int = 0, progress: bool = False
) -> list[Fault]:
    """Reads every image of a data set, in files or in a database.

    Args:
        dataset: The data set; it need not be initialised.
        num_classes: How many classes the model has.
        workers: Threads, for a database processes, that read; 0 for none.
        progress: Whether to show a progress bar.

    Returns:
        What training would stop at: classes that do not fit the model, labels out of range,
        unreadable images, records of a database that are not what was stored; and notes on classes
        without an image.
    """
    is_database = isinstance(dataset, ImageNetLMDB)
    where = dataset.reader.path if is_database else dataset.img_prefix
    if is_database:
        try:
            dataset.full_init()
        except LMDBDataError as error:
            return [Fault(where, str(error))]
    else:
        problem = loading_problem(dataset)
        if problem:
            return [Fault(dataset.ann_file or where, problem)]
        dataset.full_init()
    faults = [*label_faults(dataset, num_classes), *_empty_classes(dataset, where, num_classes)]
    if is_database:
        records = verify_lmdb(dataset.reader.path, workers, decode=True, progress=progress)
        return faults + [Fault(where, f'{key or "index"}: {defect}') for key, defect in records]
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return faults + each(lambda path: read_size(path)[1], paths, workers, progress)


def label_faults(dataset: BaseDataset, num_classes: int) -> Iterator[Fault]:
    """Finds classes and labels that the model has not, in an initialised data set."""
    classes = dataset.metainfo.get('classes')
    problem = class_count_problem(classes, num_classes)
    if problem:
        yield Fault(dataset.img_prefix, problem)
    # Databases were looked at when they were opened; without a list the folders are the labels.
    if isinstance(dataset, ImageNetLMDB) or not dataset.ann_file:
        return
    labels = dataset.get_gt_labels()
    number = num_classes if classes is None else len(classes)
    for label, count in sorted(Counter(labels.tolist()).items()):
        if not 0 <= label < number:
            first = dataset.get_data_info(labels.tolist().index(label))['img_path']
            yield Fault(first, f'labels must be 0 to {number - 1}, got {label} ({count} images)')


def _empty_classes(dataset: BaseDataset, where: str, num_classes: int) -> Iterator[Fault]:
    classes = dataset.metainfo.get('classes')
    found = set(dataset.get_gt_labels().tolist())
    for label in range(num_classes if classes is None else len(classes)):
        if label not in found:
            name = 'without a name' if classes is None else repr(classes[label])
            yield Fault(where, f'class {label}, {name}, has no image', is_note=True)

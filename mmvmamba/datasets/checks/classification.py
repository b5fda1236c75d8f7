"""Checks of classification data: images, labels, and the records of databases."""

from collections import Counter

from mmpretrain.datasets import BaseDataset

from mmvmamba.datasets.lmdb.maintenance import verify_lmdb

from ..errors import LMDBDataError
from ..imagenet_lmdb import ImageNetLMDB
from .faults import Fault, each, read_size

__all__ = ['check_classification']


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
        All faults: classes that do not fit the model, classes without an image, labels out of
        range, unreadable images, records of a database that are not what was stored.
    """
    is_database = isinstance(dataset, ImageNetLMDB)
    where = dataset.reader.path if is_database else dataset.img_prefix
    try:
        dataset.full_init()
    # What mmpretrain raises for folders that are empty or do not fit the classes.
    except (LMDBDataError, RuntimeError, AssertionError, OSError) as error:
        return [Fault(where, str(error))]
    faults = _check_labels(dataset, where, num_classes)
    if is_database:
        records = verify_lmdb(dataset.reader.path, workers, decode=True, progress=progress)
        return faults + [Fault(where, f'{key or "index"}: {defect}') for key, defect in records]
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return faults + each(lambda path: read_size(path)[1], paths, workers, progress)


def _check_labels(dataset: BaseDataset, where: str, num_classes: int) -> list[Fault]:
    classes = dataset.metainfo.get('classes')
    faults = []
    if classes is not None and len(classes) != num_classes:
        problem = f'the data set must have the {num_classes} classes of the model, got'
        faults.append(Fault(where, f'{problem} {len(classes)}'))
    counts = Counter(int(label) for label in dataset.get_gt_labels())
    known = range(len(classes) if classes is not None else num_classes)
    for label in sorted(set(counts) - set(known)):
        first = next(
            dataset.get_data_info(i)['img_path']
            for i, found in enumerate(dataset.get_gt_labels())
            if found == label
        )
        problem = f'labels must be 0 to {len(known) - 1}, got {label} ({counts[label]} images)'
        faults.append(Fault(first, problem))
    for label in known:
        if label not in counts:
            name = repr(classes[label]) if classes is not None else 'without a name'
            faults.append(Fault(where, f'class {label}, {name}, has no image'))
    return faults

"""What a check reports, and what all checks share: walking over samples and reading images."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from reprlib import repr as brief
from typing import TypeVar

from mmengine.dataset import BaseDataset
from mmengine.fileio import get, list_from_file

from ..image_files import find_defect, oriented_size
from ..progress import progress_bar

__all__ = [
    'LOADING_ERRORS',
    'Fault',
    'class_count_problem',
    'each',
    'leaves',
    'loading_problem',
    'read_size',
    'record_size_problem',
]

Item = TypeVar('Item')
# What the projects' data sets raise for lists and folders that do not hold what they should.
LOADING_ERRORS = (AssertionError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set.

    Args:
        path: The file it was found in.
        problem: What is wrong, as one sentence without the file.
        is_note: Whether training leaves out what has the fault, and goes on.
    """

    path: str
    problem: str
    is_note: bool = False

    def __str__(self) -> str:
        return f'{self.path}: {self.problem}'


def each(
    check: Callable[[Item], list[Fault]], items: Sequence[Item], workers: int, progress: bool
) -> list[Fault]:
    """Applies a check to all items and puts what it finds in one list, in their order.

    Args:
        check: What to apply.
        items: What to apply it to.
        workers: Threads that check; 0 for none.
        progress: Whether to show a progress bar.
    """
    with (
        ThreadPoolExecutor(max(workers, 1)) as pool,
        progress_bar(len(items), 'image', 'check', shown=progress) as bar,
    ):
        faults = []
        for found in (pool.map if workers else map)(check, items):
            faults += found
            bar.update()
    return faults


def read_size(path: str) -> tuple[tuple[int, int] | None, list[Fault]]:
    """Decodes an image.

    Returns:
        Its width and height as the pipelines see it, turned the way its EXIF block says, or None
        if it cannot be read; and the fault in that case.
    """
    try:
        data = get(path)
    except OSError as error:
        return None, [Fault(path, f'the image cannot be opened: {error.strerror or error}')]
    defect = find_defect(data, decode=True)
    if defect:
        return None, [Fault(path, f'the image cannot be read: {defect}')]
    return oriented_size(data), []


def leaves(node: dict) -> Iterator[dict]:
    """The data sets inside of wrappers such as RepeatDataset and ConcatDataset, as configs."""
    if 'datasets' in node:
        for child in node['datasets']:
            yield from leaves(child)
    elif 'dataset' in node:
        yield from leaves(node['dataset'])
    else:
        yield node


def loading_problem(dataset: BaseDataset) -> str:
    """Why a data set of files cannot be initialised; '' if it can.

    Args:
        dataset: The data set, not initialised.
    """
    try:
        dataset.data_list = dataset.load_data_list()
        is_empty = not dataset.filter_data()
    except LOADING_ERRORS as error:
        return _line_problem(dataset) or str(error) or type(error).__name__
    return 'the split is empty, or filter_cfg leaves nothing of it' if is_empty else ''


def _line_problem(dataset: BaseDataset) -> str:
    """The first line that is none of a list of images with their classes."""
    if not getattr(dataset, 'with_label', False) or not dataset.ann_file:
        return ''
    for number, line in enumerate(list_from_file(dataset.ann_file), 1):
        path, _, label = line.strip().rpartition(' ')
        if not path or not label.isdecimal():
            return f'line {number} of the list must be "<path> <class index>", got {brief(line)}'
    return ''


def class_count_problem(classes: Sequence[str] | None, num_classes: int) -> str:
    """Whether the data set has the classes of the model; '' if it has, or names none."""
    if classes is None or len(classes) == num_classes:
        return ''
    return f'the data set must have the {num_classes} classes of the model, got {len(classes)}'


def record_size_problem(size: tuple[int, int], declared: tuple[int, int]) -> str:
    """Whether an image has the width and height that its record says; '' if so."""
    if size == declared:
        return ''
    return f'the image is {size[0]} x {size[1]}, its record says {declared[0]} x {declared[1]}'

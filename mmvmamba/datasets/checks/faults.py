"""What a check reports, and what all checks share: walking over samples and reading images."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from mmengine.fileio import get
from PIL import Image
from tqdm import tqdm

from ..image_files import find_defect

__all__ = ['Fault', 'each', 'read_size']

Item = TypeVar('Item')
ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set.

    Args:
        path: The file it was found in.
        problem: What is wrong, as one sentence without the file.
    """

    path: str
    problem: str

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
        tqdm(total=len(items), unit='img', disable=not progress) as bar,
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
    with Image.open(BytesIO(data)) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TURNED
    return (height, width) if turned else (width, height), []

"""What is wrong with the masks of semantic segmentation, in training and in checks alike."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .image_files import open_header

__all__ = ['depth_problem', 'label_problem', 'labels_in', 'shape_problem']

# mmseg keeps labels in eight bits.
LARGEST_LABEL = 255


def depth_problem(data: bytes) -> str:
    """Whether a file holds values that loading would cut to eight bits; '' if not.

    Raises:
        Exception: One of ``DECODE_ERRORS``, for what is no image.
    """
    with open_header(data) as image:
        if image.mode in ('1', 'L', 'P') or len(image.getbands()) > 1:
            return ''
        extrema: Any = image.getextrema()
    low, high = extrema
    wrong = high if high > LARGEST_LABEL else low
    return '' if 0 <= wrong <= LARGEST_LABEL else f'labels must be 0 to 255, got {wrong:g}'


def shape_problem(shape: tuple[int, ...], size: tuple[int, int] | None) -> str:
    """Whether a mask is one, and that of an image; '' if so.

    Args:
        shape: That of the loaded mask.
        size: Height and width of the image, if they are known.
    """
    if len(shape) != 2:
        return f'the mask must have one channel, got the shape {tuple(shape)}'
    if size is not None and tuple(shape) != tuple(size):
        return f'the mask is {shape[1]} x {shape[0]}, its image {size[1]} x {size[0]}'
    return ''


def label_problem(
    found: Iterable[int], num_classes: int, ignore_index: int, reduce_zero_label: bool = False
) -> str:
    """Whether the model has the labels of a loaded mask; '' if it has.

    Args:
        found: The labels, each once.
        num_classes: How many classes the model has.
        ignore_index: The label that is not counted.
        reduce_zero_label: Whether loading took 1 from the labels in the file.
    """
    wrong = sorted(int(i) for i in found if not 0 <= i < num_classes and i != ignore_index)
    if not wrong:
        return ''
    note = ', each 1 more in the file (reduce_zero_label)' if reduce_zero_label else ''
    shown = ', '.join(map(str, wrong[:5])) + (', ...' if len(wrong) > 5 else '')
    return f'labels must be 0 to {num_classes - 1} or {ignore_index}, got {shown}{note}'


def labels_in(mask: np.ndarray) -> list[int]:
    """The labels that a loaded mask of eight bits holds, each once."""
    return np.bincount(mask.ravel(), minlength=1).nonzero()[0].tolist()

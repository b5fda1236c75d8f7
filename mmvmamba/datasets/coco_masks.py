"""Masks of COCO annotations, judged without the compiled tools that read them."""

import math
from collections.abc import Iterator
from reprlib import repr as brief
from typing import TypeGuard

import numpy as np

from .image_files import size_problem
from .numbers import LARGEST, is_whole

__all__ = ['mask_problems']

# The tools that draw a polygon need about 80 bytes for each pixel of its outline.
LONGEST_OUTLINE = 5_000_000
# Run lengths as text: five bits a character, from '0' on; the sixth says that more follow.
FIRST, MORE, SIGN, BITS = 48, 0x20, 0x10, 5
# A run fits into 32 bits, its difference from another one into 33, hence seven characters.
LONGEST_RUN = 7


def mask_problems(
    mask: object, width: int, height: int, strict: bool = True
) -> Iterator[tuple[str, bool]]:
    """Finds what is wrong with the segmentation of an annotation.

    Args:
        mask: Polygons, or run lengths as numbers or text.
        width: That of its image.
        height: Likewise.
        strict: Whether run lengths must be of the size of the image, and polygons near it.

    Returns:
        Problems, and whether training leaves out what has it and goes on.
    """
    if isinstance(mask, dict):
        yield from _run_length_problems(mask, width, height, strict)
        return
    if mask in (None, []):
        yield 'has no mask', False
        return
    if not isinstance(mask, list) or not all(isinstance(part, list) and part for part in mask):
        yield f'must have a mask, as polygons or run lengths, got {brief(mask)}', False
        return
    for polygon in mask:
        yield from _polygon_problems(polygon, width, height, strict)


def _polygon_problems(
    polygon: list, width: int, height: int, strict: bool
) -> Iterator[tuple[str, bool]]:
    if not _are_numbers(polygon):
        yield f'has a polygon with what is not a finite number: {brief(polygon)}', False
        return
    if len(polygon) < 6 or len(polygon) % 2:
        yield f'has a polygon that is not three or more pairs of numbers, but {len(polygon)}', True
    xs, ys = polygon[::2], polygon[1::2] or [0]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    beyond = max(-left, -top, right - width, bottom - height)
    if strict and beyond > max(width, height):
        yield f'has a polygon that reaches {beyond:g} pixels outside of {width} x {height}', False
        return
    if len(xs) * max(right - left, bottom - top) > LONGEST_OUTLINE:
        points = np.array(polygon[: len(polygon) // 2 * 2], float).reshape(-1, 2)
        length = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
        if length > LONGEST_OUTLINE:
            yield (
                f'has a polygon with an outline of {length:.0f} pixels, '
                f'more than {LONGEST_OUTLINE}',
                False,
            )
            return
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        yield f'has a polygon outside of {width} x {height}', True


def _are_numbers(values: list) -> bool:
    """`is_number` for all of many: a file has millions of them."""
    if not all(issubclass(kind, int | float) and kind is not bool for kind in {*map(type, values)}):
        return False
    # NaN is neither above nor below anything, but stays in a sum.
    return -LARGEST <= min(values) <= max(values) <= LARGEST and not math.isnan(sum(values))


def _run_length_problems(
    mask: dict, width: int, height: int, strict: bool
) -> Iterator[tuple[str, bool]]:
    size, counts = mask.get('size'), mask.get('counts')
    if not strict and _is_size(size):
        height, width = size
    if size != [height, width] or not all(map(is_whole, size)):
        yield (
            f'must have a mask of the height and width of its image, {[height, width]}, '
            f'got {brief(size)}',
            False,
        )
        return
    runs: np.ndarray | list[int] | None
    if isinstance(counts, str):
        runs = _parse_runs(counts)
        if runs is None:
            yield f'must have run lengths in the form of COCO, got {brief(counts)}', False
            return
    elif isinstance(counts, list) and all(map(is_whole, counts)):
        runs = counts
    else:
        yield f'must have run lengths that are whole numbers or text, got {brief(counts)}', False
        return
    total = int(sum(runs)) if len(runs) else 0
    if total != width * height or min(runs) < 0:
        least = f', one of them {min(runs)}' if len(runs) and min(runs) < 0 else ''
        problem = f'must have run lengths that add up to {width * height} pixels'
        yield f'{problem}, got {brief(total)}{least}', False
    elif not sum(runs[1::2]):
        yield 'has an empty mask', True


def _is_size(size: object) -> TypeGuard[list[int]]:
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_whole, size)):
        return False
    return min(size) > 0 and not size_problem(*size)


def _parse_runs(text: str) -> np.ndarray | None:
    """Run lengths written as text by COCO's tools, or None if they did not write it."""
    codes = np.frombuffer(text.encode('utf-8', 'replace'), np.uint8).astype(np.int64) - FIRST
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & MORE:
        return None
    ends = np.flatnonzero((codes & MORE) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > LONGEST_RUN:
        return None
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & (MORE - 1)) << (BITS * places), starts)
    negative = (codes[ends] & SIGN) != 0
    runs[negative] -= np.int64(1) << (BITS * lengths[negative])
    # From the fourth on, each is the difference from the last but one.
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs

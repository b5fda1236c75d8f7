"""How many objects the best proposals of an image cover, whatever their class."""

from collections.abc import Sequence

import numpy as np

__all__ = ['proposal_recalls']


def proposal_recalls(
    truths: Sequence[np.ndarray],
    proposals: Sequence[np.ndarray],
    numbers: Sequence[int],
    iou_thresholds: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Count objects that a proposal of their own overlaps enough.

    mmdet's ``eval_recalls`` puts arrays of several sizes into one, which numpy >= 1.24 refuses.

    Args:
        truths: for each image the boxes (n, 4) to be found, as corners.
        proposals: for each image the boxes (n, 4), best first.
        numbers: how many proposals of an image count.
        iou_thresholds: overlaps that are enough.

    Returns:
        (numbers, thresholds) shares of the objects that were found; zero if there are none.
    """
    covered: list[list[float]] = [[] for _ in numbers]
    for truth, boxes in zip(truths, proposals, strict=True):
        overlaps = _overlaps(truth, boxes)
        for row, number in zip(covered, numbers, strict=True):
            row += _match(overlaps[:, :number])
    total = max(sum(map(len, truths)), 1)
    enough = [[sum(o >= least for o in row) for least in iou_thresholds] for row in covered]
    return np.array(enough) / total


def _match(overlaps: np.ndarray) -> list[float]:
    """The overlap of each object with its own proposal, the best pairs joined first."""
    overlaps = overlaps.copy()
    found = []
    for _ in range(min(overlaps.shape)):
        truth, box = np.unravel_index(overlaps.argmax(), overlaps.shape)
        found.append(float(overlaps[truth, box]))
        overlaps[truth] = overlaps[:, box] = -1
    return found


def _overlaps(truth: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    corner = np.maximum(truth[:, None, :2], boxes[None, :, :2])
    opposite = np.minimum(truth[:, None, 2:], boxes[None, :, 2:])
    shared = (opposite - corner).clip(min=0).prod(axis=2)
    areas = [(group[:, 2:] - group[:, :2]).prod(axis=1) for group in (truth, boxes)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

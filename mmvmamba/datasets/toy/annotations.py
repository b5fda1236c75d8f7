"""A mask as COCO writes it: polygons, or run lengths for crowds and masks with holes."""

import cv2
import numpy as np

__all__ = ['mask_to_polygons', 'mask_to_rle']

# Contours run through pixel centres; enlarging the mask first brings them to the outer edges.
ENLARGE = 4


def mask_to_polygons(mask: np.ndarray) -> list[list[float]] | None:
    """Traces a mask's outlines.

    Args:
        mask: Boolean array (height, width).

    Returns:
        One ``[x0, y0, x1, y1, ...]`` per connected part, or None if a part has a hole, which
        polygons cannot say.
    """
    large: np.ndarray = np.kron(mask.astype(np.uint8), np.ones((ENLARGE, ENLARGE), np.uint8))
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if any(parent >= 0 for parent in hierarchy[0][:, 3]):
        return None
    points = [(contour[:, 0] + 0.5) / ENLARGE for contour in contours if len(contour) >= 3]
    return [part.round(3).flatten().tolist() for part in points]


def mask_to_rle(mask: np.ndarray) -> dict:
    """Encodes a mask as uncompressed run lengths, column by column, the first run counting zeros.

    Args:
        mask: Boolean array (height, width).
    """
    flat = np.concatenate([[False], mask.flatten(order='F'), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    if mask.size and mask[-1, -1]:
        counts = counts[:-1]
    return dict(size=list(mask.shape), counts=counts.tolist())

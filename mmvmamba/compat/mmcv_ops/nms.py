"""Non-maximum suppression."""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision

__all__ = ['nms']


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Return the indices of the boxes that stay, best score first.

    Args:
        boxes: (n, 4) corners.
        scores: (n,).
        iou_threshold: a box that overlaps a better one by more than this goes.
        offset: added to widths and heights; 1 where corners are pixels that belong to the box.
    """
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torch.ops.torchvision.nms(boxes, scores, iou_threshold)

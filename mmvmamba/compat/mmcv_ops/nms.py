"""Non-maximum suppression, hard and soft."""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

__all__ = ['nms', 'nms_match', 'softnms']

_NAIVE, _LINEAR, _GAUSSIAN = range(3)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes that stay, best score first.

    Args:
        boxes: (n, 4) corners.
        scores: (n,).
        iou_threshold: a box that overlaps a better one by more than this goes.
        offset: added to widths and heights; 1 where corners are pixels that belong to the box.
    """
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # Autocast leaves boxes and scores in different types; torchvision wants one, and not bfloat16.
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    return torch.ops.torchvision.nms(boxes.to(dtype), scores.to(dtype), iou_threshold)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Returns groups of boxes, each led by one that stays, with those that it has go.

    Args:
        dets: (n, 5) corners and score.
        iou_threshold: a box that overlaps a better one by this or more joins its group.
    """
    left = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while left.numel():
        best, others = left[0], left[1:]
        joins = _overlap(dets[best, :4], dets[others, :4], 0) >= iou_threshold
        groups.append([int(best), *others[joins].tolist()])
        left = others[~joins]
    return groups


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Take the best box, lower the scores of those that overlap it, and repeat.

    Args:
        boxes: (n, 4) corners.
        scores: (n,).
        dets: (n, 5), written: corners and lowered score of each box in the order it was taken.
        iou_threshold: overlap from which methods 0 and 1 lower a score.
        sigma: width of method 2.
        min_score: a box whose score is lowered to less than this goes.
        method: 0 sets the score to zero, 1 multiplies it by ``1 - overlap``, 2 by
            ``exp(-overlap ** 2 / sigma)``.
        offset: added to widths and heights.

    Returns:
        The indices of the boxes taken, in that order.
    """
    taken, lowered = [], []
    left = torch.arange(len(boxes), device=boxes.device)
    scores = scores.clone()
    while left.numel():
        best = scores[left].argmax()
        index = left[best]
        taken.append(index)
        lowered.append(scores[index])
        left = torch.cat([left[:best], left[best + 1 :]])
        overlap = _overlap(boxes[index], boxes[left], offset)
        scores[left] *= _soft_weight(overlap, iou_threshold, sigma, method)
        left = left[scores[left] >= min_score]
    if not taken:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    indices = torch.stack(taken)
    dets[: len(indices)] = torch.cat([boxes[indices], torch.stack(lowered)[:, None]], dim=1)
    return indices


def _overlap(box: Tensor, others: Tensor, offset: int) -> Tensor:
    top_left = torch.maximum(box[:2], others[:, :2])
    bottom_right = torch.minimum(box[2:], others[:, 2:])
    intersection = (bottom_right - top_left + offset).clamp(min=0).prod(dim=1)
    area = (box[2:] - box[:2] + offset).prod()
    areas = (others[:, 2:] - others[:, :2] + offset).prod(dim=1)
    union = area + areas - intersection
    # Two boxes without area have no union; they do not overlap.
    return torch.where(union > 0, intersection / union, 0)


def _soft_weight(overlap: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    if method == _GAUSSIAN:
        return torch.exp(-overlap.square() / sigma)
    if method == _LINEAR:
        return torch.where(overlap >= iou_threshold, 1 - overlap, 1.0)
    if method == _NAIVE:
        return (overlap < iou_threshold).to(overlap.dtype)
    raise ValueError(f'method must be 0 (naive), 1 (linear) or 2 (gaussian), got {method}')

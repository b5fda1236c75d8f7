"""RoIPool, the largest value of each cell.

torchvision rounds the corners of a box to pixels; mmcv's operator does not, and counts the last
pixel as part of the box.
"""

from itertools import product

import torch
from torch import Tensor

__all__ = ['roi_pool_backward', 'roi_pool_forward']


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fills ``output`` with the largest values of ``input`` in the cells of ``rois``.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5) rows of batch index and corners.
        output: (n, channels, pooled_height, pooled_width), written; zero where a cell has no pixel.
        argmax: As ``output``, written: the pixel's place in its flattened map, or -1.
        pooled_height: Rows of a cell grid.
        pooled_width: Columns of a cell grid.
        spatial_scale: From the corners' scale to ``input``'s.
    """
    output.zero_()
    argmax.fill_(-1)
    height, width = input.shape[2:]
    for number, roi in enumerate(rois):
        left, top = (roi[1:3] * spatial_scale).unbind()
        right, bottom = ((roi[3:] + 1) * spatial_scale).unbind()
        if right <= left or bottom <= top:
            continue
        rows = _cells(top, bottom, pooled_height, height)
        columns = _cells(left, right, pooled_width, width)
        for (i, (y1, y2)), (j, (x1, x2)) in product(enumerate(rows), enumerate(columns)):
            cell = input[int(roi[0]), :, y1:y2, x1:x2]
            if cell.numel():
                output[number, :, i, j], place = cell.flatten(1).max(dim=1)
                row, column = place // (x2 - x1), place % (x2 - x1)
                argmax[number, :, i, j] = ((y1 + row) * width + x1 + column).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds each gradient to the pixel that its value was taken from."""
    for number, roi in enumerate(rois):
        taken = argmax[number].flatten(1).long()
        grads = torch.where(taken >= 0, grad_output[number].flatten(1), 0)
        grad_input[int(roi[0])].flatten(1).scatter_add_(1, taken.clamp(min=0), grads)


def _cells(start: Tensor, end: Tensor, count: int, size: int) -> list[tuple[int, int]]:
    """The first pixel of each cell, and the one behind its last."""
    edges = start + torch.arange(count + 1, device=start.device) * ((end - start) / count)
    first = edges[:-1].floor().clamp(0, size).long().tolist()
    last = edges[1:].ceil().clamp(0, size).long().tolist()
    return list(zip(first, last, strict=True))

"""RoI pooling whose cells are moved: https://arxiv.org/abs/1703.06211.

The gradient of an offset is the derivative of the output. mmcv's kernel gives another one where a
sample lies within a pixel of the map's border, and is held there.
"""

import math

import torch
from torch import Tensor

from .gradients import fill_gradients

__all__ = ['deform_roi_pool_backward', 'deform_roi_pool_forward']


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fills ``output`` with the averages of ``input`` over the moved cells of ``rois``.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5) rows of batch index and corners.
        offset: (n, 2, pooled_height, pooled_width), by how many times gamma and the box's width
            and height a cell is moved, x first; or empty.
        output: (n, channels, pooled_height, pooled_width), written.
        pooled_height: Rows of a cell grid.
        pooled_width: Columns of a cell grid.
        spatial_scale: From the corners' scale to ``input``'s.
        sampling_ratio: Samples per cell and axis; 0 takes as many as the cell is large.
        gamma: Scale of the offsets.
    """
    size = pooled_height, pooled_width
    output.copy_(_pool(input, offset, rois, size, spatial_scale, sampling_ratio, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fills ``grad_input`` and ``grad_offset``; the other arguments are those of the forward."""
    settings = rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio, gamma
    if offset.numel():
        fill_gradients(
            lambda x, moved: _pool(x, moved, *settings),
            (input, offset),
            grad_output,
            (grad_input, grad_offset),
        )
    else:
        fill_gradients(lambda x: _pool(x, offset, *settings), [input], grad_output, [grad_input])


def _pool(
    input: Tensor,
    offset: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    gamma: float,
) -> Tensor:
    pooled = [
        _pool_one(
            input[int(roi[0])],
            roi[1:] * scale - 0.5,
            offset[number] if offset.numel() else None,
            size,
            ratio,
            gamma,
        )
        for number, roi in enumerate(rois)
    ]
    return torch.stack(pooled) if pooled else input.new_zeros(0, input.size(1), *size)


def _pool_one(
    image: Tensor,
    box: Tensor,
    offset: Tensor | None,
    size: tuple[int, int],
    ratio: int,
    gamma: float,
) -> Tensor:
    """(channels, rows, columns) averages of an image (channels, height, width)."""
    points = []
    for axis, number in enumerate(size):
        # Boxes and offsets have x first, images have y first.
        start, length = box[1 - axis], box[3 - axis] - box[1 - axis]
        samples = ratio or max(math.ceil(float(length / number)), 0)
        places = torch.arange(samples).to(box) + 0.5
        steps = torch.arange(number).to(box)[:, None] + places / max(samples, 1)
        where = start + steps * (length / number)
        where = where[:, None] if axis == 0 else where[None]  # (rows, columns, samples)
        if offset is not None:
            where = where + (gamma * length * offset[1 - axis])[..., None]
        points.append(where.expand(*size, samples))
    if not (points[0].numel() and points[1].numel()):
        # A box without area has no samples.
        return image.new_zeros(len(image), *size)
    return _sample(image, points[0][..., None], points[1][..., None, :]).mean(dim=(-2, -1))


def _sample(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear values: held at the border for a pixel, zero beyond."""
    height, width = image.shape[1:]
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().long(), x.detach().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    down, over = y - top, x - left
    upper = image[:, top, left] * (1 - over) + image[:, top, right] * over
    lower = image[:, bottom, left] * (1 - over) + image[:, bottom, right] * over
    return torch.where(outside, 0, upper * (1 - down) + lower * down)

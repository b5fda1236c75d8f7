"""RoIAlign whose cells have the largest of their samples instead of the average."""

import math

import torch
from torch import Tensor

from mmvmamba.ops.roi_align import check_images

__all__ = ['roi_align_max_backward', 'roi_align_max_forward']

# Beyond every map, where no pixel has weight.
NOWHERE = -2


def roi_align_max_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Fills ``output`` with the largest samples of ``input`` in the cells of ``rois``.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5) rows of batch index and corners.
        output: (n, channels, rows, columns), written; zero where a cell has no sample, where
            mmcv's kernel has the lowest number there is.
        argmax_y: As ``output``, written: where the sample lies.
        argmax_x: Likewise.
        spatial_scale: From the corners' scale to ``input``'s.
        sampling_ratio: Samples per cell and axis; 0 takes as many as the cell is large.
        aligned: Whether pixel centres lie at half integers.
    """
    check_images(rois, len(input))
    output.zero_()
    argmax_y.fill_(NOWHERE)
    argmax_x.fill_(NOWHERE)
    for number, roi in enumerate(rois):
        if not roi.isfinite().all():
            output[number] = math.nan
            continue
        start, end = (roi[1:] * spatial_scale - (0.5 if aligned else 0)).view(2, 2)
        length = end - start if aligned else (end - start).clamp(min=1)
        # Boxes have x first, images have y first.
        y = _samples(start[1], length[1], output.shape[2], sampling_ratio)[:, None, :, None]
        x = _samples(start[0], length[0], output.shape[3], sampling_ratio)[None, :, None]
        y, x = (place.flatten(2) for place in torch.broadcast_tensors(y, x))
        if y.numel():
            pixels, weights = _taps(y, x, *input.shape[2:])
            values = (input[int(roi[0])].flatten(1)[:, pixels] * weights).sum(dim=1)
            output[number], taken = values.max(dim=-1)
            argmax_y[number], argmax_x[number] = (
                place.expand_as(values).gather(-1, taken[..., None])[..., 0] for place in (y, x)
            )


def roi_align_max_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, shape: torch.Size
) -> Tensor:
    """The gradient of maps of ``shape``: each goes to the pixels around its sample."""
    grad_input = grad_output.new_zeros(shape)
    for number, roi in enumerate(rois):
        pixels, weights = _taps(argmax_y[number], argmax_x[number], *shape[2:])
        image = grad_input[int(roi[0])].flatten(1)
        for tap, grad in zip(pixels, grad_output[number] * weights, strict=True):
            image.scatter_add_(1, tap.flatten(1), grad.flatten(1))
    return grad_input


def _samples(start: Tensor, length: Tensor, cells: int, ratio: int) -> Tensor:
    """(cells, samples) places along an axis."""
    count = ratio or max(math.ceil(float(length / cells)), 0)
    within = (torch.arange(count).to(start) + 0.5) / max(count, 1)
    return start + (torch.arange(cells).to(start)[:, None] + within) * (length / cells)


def _taps(y: Tensor, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four pixels around places, in a flattened map, and their weights.

    Places are held at the border for a pixel; beyond, the weights are zero.
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.long(), x.long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    down, over = y - top, x - left
    rows = ((top, 1 - down), (bottom, down))
    columns = ((left, 1 - over), (right, over))
    pixels = [row * width + column for row, _ in rows for column, _ in columns]
    weights = [of_row * of_column * inside for _, of_row in rows for _, of_column in columns]
    return torch.stack(pixels), torch.stack(weights)

"""RoIAlign on the CPU by compiled kernels, forward and backward; equal to torchvision's operator.

Kernels are compiled at the first call and kept on disk.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mmvmamba.ops.cpu.compiled import has_numba, load_kernels
from mmvmamba.ops.cpu.threads import run_on_team

__all__ = ['can_run', 'check_images', 'roi_align_backward', 'roi_align_forward']


def can_run(device: torch.device) -> bool:
    """Whether the kernels serve tensors on a device."""
    return device.type == 'cpu' and has_numba()


def roi_align_forward(
    input: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    """Averages of maps over the cells of boxes, in the dtype of ``input``.

    Args:
        input: (batch, channels, height, width), float32 or float64.
        rois: (n, 5) rows of batch index and corners, in the same dtype.
        size: Rows and columns of cells.
        scale: From the corners' scale to ``input``'s.
        ratio: Samples per cell and axis; 0 takes as many as the cell is large.
        aligned: Whether pixel centres lie at half integers.

    Returns:
        (n, channels, *size). A box whose corners are not finite has NaN.

    Raises:
        ValueError: if a box is of an image that is not in the batch.
    """
    input = input.detach().contiguous()
    out = input.new_empty(len(rois), input.shape[1], *size)
    _run('forward', input, rois.detach(), out, scale, ratio, aligned)
    out[~rois.isfinite().all(1)] = float('nan')
    return out


def roi_align_backward(
    grad: Tensor, rois: Tensor, shape: torch.Size, scale: float, ratio: int, aligned: bool
) -> Tensor:
    """The gradient of maps of ``shape``; the other arguments are those of the forward."""
    grad_input = grad.new_zeros(shape)
    _run('backward', grad_input, rois.detach(), grad.detach().contiguous(), scale, ratio, aligned)
    return grad_input


def check_images(rois: Tensor, batch: int) -> None:
    """Raises a ValueError if a box is of an image that is not in the batch."""
    images = rois[:, 0].long()
    if images.numel() and (images.min() < 0 or images.max() >= batch):
        raise ValueError(
            f'rois must name images 0..{batch - 1} of the batch in their first column, '
            f'got {images.min().item()}..{images.max().item()}'
        )


def _run(
    name: str, maps: Tensor, rois: Tensor, out: Tensor, scale: float, ratio: int, aligned: bool
) -> None:
    kernels = load_kernels(__package__)
    batch, channels, height, width = maps.shape
    if not out.numel() or not maps.numel():
        return
    check_images(rois, batch)
    images = rois[:, 0].long()
    corners = rois[:, 1:] * torch.tensor(scale, dtype=rois.dtype) - (0.5 if aligned else 0.0)
    start, length = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        length = length.clamp(min=1)
    extents = torch.stack([start, length], dim=2).numpy()
    columns, sampled_x = _taps(kernels, extents[:, 0], out.shape[3], ratio, width)
    rows, sampled_y = _taps(kernels, extents[:, 1], out.shape[2], ratio, height)
    counts = np.maximum(sampled_y * sampled_x, 1).astype(extents.dtype)
    starts = np.searchsorted(images.sort(stable=True).values.numpy(), np.arange(batch + 1))
    kernel, in_parallel = (getattr(kernels, f'{name}_{part}') for part in ('kernel', 'in_parallel'))
    run_on_team(
        kernel, in_parallel, batch * channels, width,
        maps.view(-1).numpy(), (batch, channels, height, width, *out.shape[2:]),
        images.argsort(stable=True).numpy(), starts, counts, rows, columns, out.view(-1).numpy(),
        dtype=maps.dtype,
    )  # fmt: skip


def _taps(
    kernels: ModuleType, extents: np.ndarray, cells: int, ratio: int, size: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Cuts, bounds, pixels and weights of the taps along an axis, and the samples per cell."""
    extents = np.ascontiguousarray(extents)
    cuts = np.empty((len(extents), cells + 1), np.int64)
    bounds = np.empty((len(extents), 2), np.int64)
    samples = np.empty(len(extents), np.int64)
    half, one = extents.dtype.type(0.5), extents.dtype.type(1)
    numbers, weights = np.empty(0, np.int64), np.empty(0, extents.dtype)
    fixed = (extents, cells, max(ratio, 0), size, half, one, cuts, samples, bounds)
    count = kernels.make_taps(*fixed, numbers, weights)
    numbers, weights = np.empty(max(count, 1), np.int64), np.empty(max(count, 1), extents.dtype)
    kernels.make_taps(*fixed, numbers, weights)
    return (cuts, bounds, numbers, weights), samples

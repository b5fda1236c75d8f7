"""RoIAlign: our kernels on the CPU, torchvision's operator elsewhere and without numba.

The largest sample of a cell instead of the average is for what asks for it: PyTorch, box by box.
"""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from mmvmamba.ops import roi_align

from .roi_align_max import roi_align_max_backward, roi_align_max_forward

__all__ = ['roi_align_backward', 'roi_align_forward']

MAXIMUM = 0


def _has_kernels(tensor: Tensor) -> bool:
    """Whether our kernels take a tensor; they need its data."""
    return roi_align.can_run(tensor.device) and not isinstance(tensor, FakeTensor)


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    """torchvision has no kernel for bfloat16, and our kernels none for half precision."""
    half = tensor.dtype == torch.float16 and _has_kernels(tensor)
    return torch.float32 if half or tensor.dtype == torch.bfloat16 else tensor.dtype


def _fill(output: Tensor, result: Tensor) -> None:
    """Make ``output`` hold ``result``, without a copy where the dtypes allow it."""
    if output.dtype == result.dtype:
        # PyTorch's types have the forms for storages alone.
        output.set_(result)  # type: ignore[call-overload]
    else:
        output.copy_(result)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` with what ``input`` has in the cells of ``rois``.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5) rows of batch index and corners.
        output: (n, channels, aligned_height, aligned_width), written.
        argmax_y: as ``output`` for the maximum, written: where it lies.
        argmax_x: likewise.
        aligned_height: rows of a cell grid.
        aligned_width: columns of a cell grid.
        spatial_scale: from the corners' scale to ``input``'s.
        sampling_ratio: samples per cell and axis; 0 takes as many as the cell is large.
        pool_mode: 0 for the maximum of a cell, 1 for the average.
        aligned: whether pixel centres lie at half integers.
    """
    dtype = _compute_dtype(input)
    tensors = input.to(dtype), rois.to(dtype)
    size = aligned_height, aligned_width
    if pool_mode == MAXIMUM:
        roi_align_max_forward(
            *(*tensors, output, argmax_y, argmax_x),
            *(spatial_scale, sampling_ratio, aligned),
        )
        return
    if _has_kernels(input):
        pooled = roi_align.roi_align_forward(*tensors, size, spatial_scale, sampling_ratio, aligned)
    else:
        pooled = torch.ops.torchvision.roi_align(
            *tensors, spatial_scale, *size, sampling_ratio, aligned
        )
    _fill(output, pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input`` from ``grad_output``; the other arguments are those of the forward."""
    dtype = _compute_dtype(grad_output)
    tensors, shape = (grad_output.to(dtype), rois.to(dtype)), grad_input.shape
    if pool_mode == MAXIMUM:
        grad = roi_align_max_backward(*tensors, argmax_y.to(dtype), argmax_x.to(dtype), shape)
    elif _has_kernels(grad_output):
        grad = roi_align.roi_align_backward(*tensors, shape, spatial_scale, sampling_ratio, aligned)
    else:
        grad = torch.ops.torchvision._roi_align_backward(
            *tensors, spatial_scale, aligned_height, aligned_width, *shape, sampling_ratio, aligned
        )
    _fill(grad_input, grad)

"""RoIAlign: our kernels on the CPU, torchvision's operator elsewhere and without numba."""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from mmvmamba.ops import roi_align

__all__ = ['roi_align_backward', 'roi_align_forward']


def _check_pool_mode(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "mmcv's operator 'roi_align' with pool_mode='max' needs the compiled mmcv; "
            "mmvmamba's stand-in has pool_mode='avg'"
        )


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
    """Fill ``output`` with the averages of ``input`` over the cells of ``rois``.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5) rows of batch index and corners.
        output: (n, channels, aligned_height, aligned_width), written.
        argmax_y: unused, for maximum pooling.
        argmax_x: unused, for maximum pooling.
        aligned_height: rows of a cell grid.
        aligned_width: columns of a cell grid.
        spatial_scale: from the corners' scale to ``input``'s.
        sampling_ratio: samples per cell and axis; 0 takes as many as the cell is large.
        pool_mode: 1 for the average.
        aligned: whether pixel centres lie at half integers.
    """
    _check_pool_mode(pool_mode)
    dtype = _compute_dtype(input)
    tensors = input.to(dtype), rois.to(dtype)
    size = aligned_height, aligned_width
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
    _check_pool_mode(pool_mode)
    dtype = _compute_dtype(grad_output)
    tensors, shape = (grad_output.to(dtype), rois.to(dtype)), grad_input.shape
    if _has_kernels(grad_output):
        grad = roi_align.roi_align_backward(*tensors, shape, spatial_scale, sampling_ratio, aligned)
    else:
        grad = torch.ops.torchvision._roi_align_backward(
            *tensors, spatial_scale, aligned_height, aligned_width, *shape, sampling_ratio, aligned
        )
    _fill(grad_input, grad)

"""Deformable convolution, first and modulated form, over torchvision's operator.

https://arxiv.org/abs/1703.06211 and https://arxiv.org/abs/1811.11168. Offsets are pairs (y, x) for
each kernel position, group by group, in mmcv and torchvision alike. mmcv passes the geometry by
name, the same names to the forward and the backward of a form: ``**geometry`` is ``PlainGeometry``
or ``ModulatedGeometry``, which refuse any other name. Its scratch buffers stay unused.
"""

from typing import NamedTuple

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

__all__ = [
    'ModulatedGeometry',
    'PlainGeometry',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
]


class PlainGeometry(NamedTuple):
    """Kernel width and height, strides, paddings, dilations, groups of the convolution, groups of
    channels that share offsets, and the images that mmcv's kernel takes at a time, unused."""

    kW: int
    kH: int
    dW: int
    dH: int
    padW: int
    padH: int
    dilationW: int
    dilationH: int
    group: int
    deformable_group: int
    im2col_step: int

    def arguments(self) -> tuple[int, ...]:
        """In the order of torchvision's operator."""
        return (
            *(self.dH, self.dW, self.padH, self.padW),
            *(self.dilationH, self.dilationW, self.group, self.deformable_group),
        )


class ModulatedGeometry(NamedTuple):
    """As ``PlainGeometry``; offsets and masks are shared, and ``bias`` may be there or not."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    group: int
    deformable_group: int
    with_bias: int  # a truth value; all that mmcv passes are integers

    def arguments(self) -> tuple[int, ...]:
        """In the order of torchvision's operator."""
        return (
            *(self.stride_h, self.stride_w, self.pad_h, self.pad_w),
            *(self.dilation_h, self.dilation_w, self.group, self.deformable_group),
        )


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Fill ``output`` with the convolution of ``input`` sampled at the kernel places + ``offset``.

    Args:
        input: (batch, channels, height, width).
        weight: (out channels, channels / group, kH, kW).
        offset: (batch, 2 * deformable_group * kH * kW, out height, out width).
        output: (batch, out channels, out height, out width), written.
        columns: scratch, unused.
        ones: scratch, unused.
        **geometry: ``PlainGeometry``.
    """
    arguments = PlainGeometry(**geometry).arguments()
    mask, bias = _no_mask_and_bias(input, weight)
    output.copy_(
        torch.ops.torchvision.deform_conv2d(input, weight, offset, mask, bias, *arguments, False)
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Fill ``grad_input`` and ``grad_offset``; the other arguments are those of the forward."""
    grads = _plain_gradients(grad_output, input, weight, offset, PlainGeometry(**geometry))
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Add ``scale`` times the weight's gradient to ``grad_weight``."""
    # The weight's gradient does not depend on the weight, which mmcv does not pass.
    weight = torch.zeros_like(grad_weight)
    grads = _plain_gradients(grad_output, input, weight, offset, PlainGeometry(**geometry))
    grad_weight.add_(grads[1], alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Like :func:`deform_conv_forward`, each sample multiplied by its entry in ``mask``.

    Args:
        input: (batch, channels, height, width).
        weight: (out channels, channels / group, kernel_h, kernel_w).
        bias: (out channels,), or empty.
        ones: scratch, unused.
        offset: (batch, 2 * deformable_group * kernel_h * kernel_w, out height, out width).
        mask: (batch, deformable_group * kernel_h * kernel_w, out height, out width).
        output: (batch, out channels, out height, out width), written.
        columns: scratch, unused.
        **geometry: ``ModulatedGeometry``.
    """
    sizes = ModulatedGeometry(**geometry)
    bias = bias if sizes.with_bias else input.new_zeros(len(weight))
    offset, mask = (_as_read(field, output.shape[2:]) for field in (offset, mask))
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            input, weight, offset, mask, bias, *sizes.arguments(), True
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    **geometry: int,
) -> None:
    """Fill the five gradients; the other arguments are those of the forward."""
    sizes = ModulatedGeometry(**geometry)
    full_bias = bias if sizes.with_bias else input.new_zeros(len(weight))
    offset, mask = (_as_read(field, grad_output.shape[2:]) for field in (offset, mask))
    grads = torch.ops.torchvision._deform_conv2d_backward(
        grad_output, input, weight, offset, mask, full_bias, *sizes.arguments(), True
    )
    _forget_border(grads[2], offset, input, weight, sizes.arguments())
    for output, grad in zip((grad_input, grad_weight), grads[:2], strict=True):
        output.copy_(grad)
    for output, grad in zip((grad_offset, grad_mask), grads[2:4], strict=True):
        output.zero_().flatten(1)[:, : grad.shape[1:].numel()] = grad.flatten(1)
    if sizes.with_bias:
        grad_bias.copy_(grads[4])


def _plain_gradients(
    grad_output: Tensor, input: Tensor, weight: Tensor, offset: Tensor, geometry: PlainGeometry
) -> tuple[Tensor, ...]:
    """Gradients of input, weight and offset, followed by those of nothing."""
    mask, bias = _no_mask_and_bias(input, weight)
    grads = torch.ops.torchvision._deform_conv2d_backward(
        grad_output, input, weight, offset, mask, bias, *geometry.arguments(), False
    )
    _forget_border(grads[2], offset, input, weight, geometry.arguments())
    return grads


def _as_read(field: Tensor, size: torch.Size) -> Tensor:
    """The part of a map of offsets or factors that the compiled operator reads.

    It steps through the memory of each image by the size of the output. DyHead hands it maps of a
    larger level, of which it so reads the beginning.
    """
    if field.shape[2:] == size:
        return field
    count = field.shape[1] * size.numel()
    if field.shape[1:].numel() < count:
        raise ValueError(
            f'offsets and masks must be at least as large as the output, {tuple(size)}, got '
            f'{tuple(field.shape[2:])}'
        )
    return field.flatten(1)[:, :count].reshape(len(field), field.shape[1], *size)


def _forget_border(
    grad_offset: Tensor, offset: Tensor, input: Tensor, weight: Tensor, arguments: tuple[int, ...]
) -> None:
    """Sets gradients to zero, in place, where a sample falls on -1 exactly.

    The derivative has a step there. mmcv's operator counts such a sample as outside of the image,
    torchvision's as within.
    """
    kernel, size = weight.shape[2:], offset.shape[2:]
    on_border = torch.zeros_like(offset[:, ::2], dtype=torch.bool)
    for axis in range(2):
        stride, padding, dilation = arguments[axis], arguments[2 + axis], arguments[4 + axis]
        start = torch.arange(size[axis], device=offset.device) * stride - padding
        start = start[:, None] if axis == 0 else start[None]
        step = torch.arange(kernel[axis], device=offset.device) * dilation
        step = step[:, None] if axis == 0 else step[None]
        step = step.expand(*kernel).flatten().repeat(offset.shape[1] // 2 // kernel.numel())
        on_border |= start + step[:, None, None] + offset[:, axis::2] == -1
    grad_offset.masked_fill_(on_border.repeat_interleave(2, dim=1), 0)


def _no_mask_and_bias(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return input.new_zeros(len(input), 1), input.new_zeros(len(weight))

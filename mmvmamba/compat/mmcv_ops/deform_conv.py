"""Deformable convolution, first and modulated form, over torchvision's operator.

https://arxiv.org/abs/1703.06211 and https://arxiv.org/abs/1811.11168. Offsets are pairs (y, x) for
each kernel position, group by group, in mmcv and torchvision alike. mmcv's scratch buffers and its
``im2col_step`` stay unused.
"""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
]


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill ``output`` with the convolution of ``input`` sampled at the kernel places + ``offset``.

    Args:
        input: (batch, channels, height, width).
        weight: (out channels, channels / group, kH, kW).
        offset: (batch, 2 * deformable_group * kH * kW, out height, out width).
        output: (batch, out channels, out height, out width), written.
        columns: scratch, unused.
        ones: scratch, unused.
        kW: kernel width.
        kH: kernel height.
        dW: horizontal stride.
        dH: vertical stride.
        padW: horizontal padding.
        padH: vertical padding.
        dilationW: horizontal dilation.
        dilationH: vertical dilation.
        group: groups of the convolution.
        deformable_group: groups of channels that share offsets.
        im2col_step: unused.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(weight))
    output.copy_(_forward(input, weight, offset, mask, bias, geometry, modulated=False))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill ``grad_input`` and ``grad_offset``; the other arguments are those of the forward."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(weight))
    grads = _backward(grad_output, input, weight, offset, mask, bias, geometry, modulated=False)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the weight's gradient to ``grad_weight``."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(grad_weight))
    # The weight's gradient does not depend on the weight, which mmcv does not pass.
    weight = torch.zeros_like(grad_weight)
    grads = _backward(grad_output, input, weight, offset, mask, bias, geometry, modulated=False)
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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
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
        kernel_h: kernel height.
        kernel_w: kernel width.
        stride_h: vertical stride.
        stride_w: horizontal stride.
        pad_h: vertical padding.
        pad_w: horizontal padding.
        dilation_h: vertical dilation.
        dilation_w: horizontal dilation.
        group: groups of the convolution.
        deformable_group: groups of channels that share offsets and masks.
        with_bias: whether ``bias`` is there.
    """
    geometry = (
        *(stride_h, stride_w, pad_h, pad_w),
        *(dilation_h, dilation_w, group, deformable_group),
    )
    bias = bias if with_bias else input.new_zeros(len(weight))
    output.copy_(_forward(input, weight, offset, mask, bias, geometry, modulated=True))


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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the five gradients; the other arguments are those of the forward."""
    geometry = (
        *(stride_h, stride_w, pad_h, pad_w),
        *(dilation_h, dilation_w, group, deformable_group),
    )
    full_bias = bias if with_bias else input.new_zeros(len(weight))
    grads = _backward(grad_output, input, weight, offset, mask, full_bias, geometry, modulated=True)
    outputs = (grad_input, grad_weight, grad_offset, grad_mask, grad_bias)
    for output, grad in zip(outputs, grads, strict=True):
        if output is not grad_bias or with_bias:
            output.copy_(grad)


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    geometry: tuple[int, ...],
    modulated: bool,
) -> Tensor:
    return torch.ops.torchvision.deform_conv2d(
        input, weight, offset, mask, bias, *geometry, modulated
    )


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    geometry: tuple[int, ...],
    modulated: bool,
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output, input, weight, offset, mask, bias, *geometry, modulated
    )

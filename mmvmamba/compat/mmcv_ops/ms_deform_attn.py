"""Multi-scale deformable attention over the package's own operator."""

import torch
from torch import Tensor

from ...ops.ms_deform_attn import ms_deform_attn

__all__ = ['ms_deform_attn_backward', 'ms_deform_attn_forward']


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return the weighted samples, (batch, queries, heads * channels).

    Args:
        value: (batch, tokens of all levels, heads, channels).
        spatial_shapes: (levels, 2) heights and widths.
        level_start_index: (levels,) first token of each level; levels follow each other.
        sampling_loc: (batch, queries, heads, levels, points, 2) as (x, y) in units of a level.
        attn_weight: (batch, queries, heads, levels, points).
        im2col_step: unused.
    """
    return ms_deform_attn(value, spatial_shapes.tolist(), sampling_loc, attn_weight)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fill the three gradients; the other arguments are those of the forward."""
    inputs = [x.detach().requires_grad_() for x in (value, sampling_loc, attn_weight)]
    with torch.enable_grad():
        output = ms_deform_attn(inputs[0], spatial_shapes.tolist(), *inputs[1:])
    grads = torch.autograd.grad(output, inputs, grad_output)
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)

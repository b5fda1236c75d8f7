"""Multi-scale deformable attention over the package's own operator."""

from torch import Tensor

from ...ops.ms_deform_attn import ms_deform_attn
from .gradients import fill_gradients

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
    fill_gradients(
        lambda *inputs: ms_deform_attn(inputs[0], spatial_shapes.tolist(), *inputs[1:]),
        (value, sampling_loc, attn_weight),
        grad_output,
        (grad_value, grad_sampling_loc, grad_attn_weight),
    )

"""The ``torch`` backend: ``grid_sample``, on any device and in any float dtype."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .reference import in_one_dtype, level_maps, ms_deform_attn_ref, sample_grids

__all__ = ['backward', 'forward', 'unavailable_reason']

BILINEAR = ZEROS_OUTSIDE = 0

Shapes = Sequence[tuple[int, int]]


def unavailable_reason(device: torch.device, dtype: torch.dtype, channels: int) -> None:
    return None


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    dtype = value.dtype
    value, locations, weights = in_one_dtype(value, locations, weights)
    return ms_deform_attn_ref(value, shapes, locations, weights).to(dtype).contiguous()


def backward(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, grad_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    dtypes = (value.dtype, locations.dtype, weights.dtype)
    value, locations, weights = in_one_dtype(value, locations, weights)
    batch, _, heads, channels = value.shape
    # As in the reference, one map and one grid for each image and head, N * M.
    upstream = grad_out.to(value.dtype).unflatten(2, (heads, channels)).permute(0, 2, 3, 1)
    upstream = upstream.flatten(0, 1)[..., None]  # (N * M, channels, queries, 1)
    own_weights = weights.transpose(1, 2).flatten(0, 1)  # (N * M, queries, levels, points)
    grids = sample_grids(locations)
    d_value, d_grids, d_weights = [], torch.empty_like(grids), torch.empty_like(own_weights)
    for level, level_map in enumerate(level_maps(value, shapes)):
        grid = grids[:, :, level]
        samples = torch.grid_sampler_2d(level_map, grid, BILINEAR, ZEROS_OUTSIDE, False)
        d_weights[:, :, level] = (samples * upstream).sum(1)
        d_map, d_grid = torch.ops.aten.grid_sampler_2d_backward(
            upstream * own_weights[:, None, :, level],
            *(level_map, grid, BILINEAR, ZEROS_OUTSIDE, False),
            output_mask=[True, True],
        )
        d_value.append(d_map.unflatten(0, (batch, heads)).flatten(3).permute(0, 3, 1, 2))
        d_grids[:, :, level] = d_grid
    d_locations = 2 * d_grids.unflatten(0, (batch, heads)).transpose(1, 2)
    d_weights = d_weights.unflatten(0, (batch, heads)).transpose(1, 2)
    grads = (torch.cat(d_value, dim=1), d_locations, d_weights)
    return tuple(grad.to(dtype) for grad, dtype in zip(grads, dtypes, strict=True))

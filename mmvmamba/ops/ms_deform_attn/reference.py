"""Multi-scale deformable attention: weighted bilinear samples from a pyramid of maps.

Deformable DETR, https://arxiv.org/abs/2010.04159.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['in_one_dtype', 'level_maps', 'ms_deform_attn_ref', 'sample_grids']


def ms_deform_attn_ref(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Samples each level with ``grid_sample`` and sums over levels and points.

    Args:
        value: Tokens of all levels, one level after the other in raster order,
            ``(batch, sum of height * width, heads, channels)``.
        shapes: Height and width of each level.
        locations: Where to sample, as (x, y) in units of a level's size,
            ``(batch, queries, heads, levels, points, 2)``; samples outside are zero.
        weights: ``(batch, queries, heads, levels, points)``.

    Returns:
        ``(batch, queries, heads * channels)``.
    """
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    grids = sample_grids(locations)
    samples = [
        F.grid_sample(level_map, grids[:, :, level], align_corners=False)
        for level, level_map in enumerate(level_maps(value, shapes))
    ]
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    out = (torch.cat(samples, dim=-1) * weights).sum(-1)  # (N * M, channels, queries)
    return out.view(batch, heads * channels, queries).transpose(1, 2)


def level_maps(value: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """The levels of ``value`` as maps of each image and head, ``(N * M, channels, h, w)``."""
    levels = value.split([height * width for height, width in shapes], dim=1)
    return [
        level.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, tuple(shape))
        for level, shape in zip(levels, shapes, strict=True)
    ]


def sample_grids(locations: Tensor) -> Tensor:
    """Locations as grid_sample counts, from -1 to 1: ``(N * M, queries, levels, points, 2)``."""
    return (2 * locations - 1).transpose(1, 2).flatten(0, 1)


def in_one_dtype(*tensors: Tensor) -> list[Tensor]:
    """The widest of their dtypes, and at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]

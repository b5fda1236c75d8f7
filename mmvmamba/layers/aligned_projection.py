"""A projection whose parts a GPU can load in whole vectors."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.ops.symbolic import is_symbolic

from .evaluation import autocast_dtype, kept_of_weights

__all__ = ['aligned_weight', 'project_parts', 'split_aligned']

# Numbers: with as many in a row, every row of half precision begins at a multiple of 32 bytes.
ALIGNMENT = 16


def project_parts(x: Tensor, linear: nn.Module, sizes: Sequence[int]) -> Sequence[Tensor]:
    """Projects ``(..., in)`` by a linear layer without a bias and splits the result.

    On a GPU the last parts come first in memory and rows are filled up with zeros, so that all but
    the first part begin where vectors do: the scan's kernels read the input and output matrices so.

    Args:
        x: What is projected.
        linear: The layer. What has taken the place of a plain one is called as it is.
        sizes: Channels of each part, those of the step sizes first.
    """
    if is_symbolic(x) or x.device.type != 'cuda' or type(linear) is not nn.Linear:
        parts: Sequence[Tensor] = linear(x).split(list(sizes), dim=-1)
        return parts
    dtype = autocast_dtype(x)

    def make(weight: Tensor) -> Tensor:
        return aligned_weight(weight, sizes).to(dtype or weight.dtype)

    weight = kept_of_weights(linear, 'aligned', make, linear.weight, also=(tuple(sizes), dtype))
    return split_aligned(F.linear(x, weight), sizes)


def aligned_weight(weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """A weight ``(..., out, in)`` with the rows of its first part last, filled up with zeros."""
    first, last = weight.split([sizes[0], sum(sizes[1:])], dim=-2)
    padding = weight.new_zeros(*weight.shape[:-2], -sum(sizes) % ALIGNMENT, weight.shape[-1])
    return torch.cat([last, first, padding], dim=-2)


def split_aligned(y: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The parts, in the order of ``sizes``, of what an aligned weight gave."""
    *others, first, _ = y.split([*sizes[1:], sizes[0], -sum(sizes) % ALIGNMENT], dim=-1)
    return [first, *others]

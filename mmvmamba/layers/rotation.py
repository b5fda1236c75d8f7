"""Rotary position embedding: pairs of channels are turned by the place of their token."""

import torch
from torch import Tensor

__all__ = ['rotate_pairs']


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each pair of neighbouring channels of ``(..., L, C)`` by the angle of its token.

    Args:
        x: The tokens.
        cos: Cosines, ``(L, C)``: both channels of a pair have the same.
        sin: Sines, likewise.
    """
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    swapped = torch.stack([-second, first], dim=-1).flatten(-2)
    return (x * cos + swapped * sin).to(x.dtype)

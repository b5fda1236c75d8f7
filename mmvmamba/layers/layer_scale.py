"""Learnt factors on the channels of a residual branch."""

import torch
from torch import nn

__all__ = ['layer_scale_parameter']


def layer_scale_parameter(initial: float | None, dim: int) -> nn.Parameter | None:
    """Factors on the channels of a residual branch, or None where a model has none."""
    return None if initial is None else nn.Parameter(torch.full((dim,), float(initial)))

"""Stochastic depth, with one way to spread its rate over the blocks of a network."""

import torch
from torch import nn
from torchvision.ops import StochasticDepth

__all__ = ['drop_path', 'drop_path_rates']


def drop_path(rate: float) -> nn.Module:
    """Drops a residual branch per sample with probability ``rate``; kept ones are scaled up."""
    return StochasticDepth(rate, mode='row') if rate > 0 else nn.Identity()


def drop_path_rates(rate: float, num_blocks: int) -> list[float]:
    """From 0 at the first block to ``rate`` at the last, in equal steps."""
    return torch.linspace(0, rate, num_blocks, dtype=torch.float64, device='cpu').tolist()

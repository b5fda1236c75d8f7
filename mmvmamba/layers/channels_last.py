"""Convolutions of maps whose channels come last."""

import torch
from torch import Tensor, nn

from .evaluation import convolve

__all__ = ['add_convolved', 'conv_channels_last', 'fold_sum']


def conv_channels_last(conv: nn.Conv2d, x: Tensor, activation: str | None = None) -> Tensor:
    """Convolves ``(N, H, W, C)``; the convolution sees channels-last memory.

    Args:
        conv: The convolution.
        x: The map.
        activation: See ``convolve``.
    """
    return convolve(conv, x.permute(0, 3, 1, 2), activation).permute(0, 2, 3, 1)


def add_convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``(N, H, W, C)`` and its convolution, added; ``fold_sum`` may have put the sum into it."""
    y = conv_channels_last(conv, x)
    return y if getattr(conv, 'adds_input', False) else x + y


def fold_sum(conv: nn.Conv2d) -> None:
    """Makes the sum of ``add_convolved`` a part of a depth-wise convolution that keeps the size."""
    middle = [side // 2 for side in conv.kernel_size]
    with torch.no_grad():
        conv.weight[:, 0, middle[0], middle[1]] += 1
    conv.adds_input = True  # type: ignore[assignment]

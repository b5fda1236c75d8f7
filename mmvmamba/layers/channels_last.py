"""Convolutions of maps whose channels come last."""

from torch import Tensor, nn

from .evaluation import convolve

__all__ = ['conv_channels_last']


def conv_channels_last(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolves ``(N, H, W, C)``; the convolution sees channels-last memory."""
    return convolve(conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

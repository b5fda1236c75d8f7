"""The convolutions of MambaVision: stem, down-sampling and the block of its first stages."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import drop_path, layer_scale_parameter
from mmvmamba.layers.evaluation import convolve_all, convolve_and_norm
from mmvmamba.ops.symbolic import is_symbolic

__all__ = ['ConvBlock', 'Downsample', 'PatchEmbed', 'convolve_tokens']


class PatchEmbed(nn.Module):
    """The stem: two 3 x 3 convolutions of stride 2."""

    def __init__(self, in_channels: int, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv2d(in_channels, in_dim, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(in_dim, eps=1e-4),  # 1e-5 everywhere else
            nn.ReLU(),
            nn.Conv2d(in_dim, dim, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(dim, eps=1e-4),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return convolve_all(self.conv_down, x)


class Downsample(nn.Module):
    """Halves the resolution and doubles the channels, without norm or activation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return convolve_all(self.reduction, x)


class ConvBlock(nn.Module):
    """Residual block of stages 0 and 1.

    Args:
        dim: Channels.
        drop_path_rate: Stochastic depth.
        layer_scale: Initial value of the factors on the branch, or None for no factors.
    """

    def __init__(
        self, dim: int, drop_path_rate: float = 0.0, layer_scale: float | None = None
    ) -> None:
        super().__init__()
        self.conv_norm_pairs = (('conv1', 'norm1'), ('conv2', 'norm2'))
        # The biases before BatchNorm do nothing in training, but the released weights hold them.
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.gamma = layer_scale_parameter(layer_scale, dim)
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        # The MLP of the token blocks uses the exact GELU.
        y = convolve_and_norm(self.conv1, self.norm1, x, 'gelu_tanh')
        y = convolve_and_norm(self.conv2, self.norm2, y)
        if self.gamma is not None:
            y = y * self.gamma[:, None, None]
        return x + self.drop_path(y)


def convolve_tokens(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves each channel of ``(W, L, C)`` along the tokens, which stay as many.

    On a GPU as an image of height 1, whose memory is channels-last already: the scan that follows
    reads whole vectors of channels.
    """
    x = x.transpose(1, 2)
    if is_symbolic(x) or x.device.type != 'cuda':
        return F.conv1d(x, weight, padding='same', groups=weight.shape[0]).transpose(1, 2)
    return convolve_row(x, weight).transpose(1, 2)


def convolve_row(x: Tensor, weight: Tensor) -> Tensor:
    """``conv1d`` with padding 'same' and a group for each channel, as a convolution of images."""
    rows = F.conv2d(x.unsqueeze(2), weight.unsqueeze(2), padding='same', groups=len(weight))
    return rows.squeeze(2)

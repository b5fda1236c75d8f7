"""The stem and the down-sampling of pyramids that begin with convolutions and BatchNorm.

Both take and return (N, H, W, C), but for the image; names of parts are official keys.
"""

from torch import Tensor, nn

from .evaluation import convolve_and_norm

__all__ = ['ConvLayer', 'ExpandedDownsample', 'ResidualConvStem']


class ConvLayer(nn.Module):
    """A convolution, BatchNorm and ReLU, the last two where they are asked for; maps are NCHW.

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        kernel_size: Odd side of the kernel.
        stride: Stride.
        groups: Groups of channels.
        bias: Whether the convolution has a bias.
        with_norm: Whether BatchNorm follows.
        with_act: Whether ReLU follows.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        with_norm: bool = True,
        with_act: bool = True,
    ) -> None:
        super().__init__()
        self.conv_norm_pairs = (('conv', 'norm'),)
        self.conv = nn.Conv2d(
            in_dim, dim, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias
        )
        self.norm = nn.BatchNorm2d(dim) if with_norm else nn.Identity()
        self.with_act = with_act

    def forward(self, x: Tensor) -> Tensor:
        return convolve_and_norm(self.conv, self.norm, x, 'relu' if self.with_act else None)


class ResidualConvStem(nn.Module):
    """To stride 4 by two strided convolutions, with a residual pair between them.

    No activation follows the sum or the last convolution.
    """

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.conv1 = ConvLayer(in_channels, half, stride=2)
        self.conv2 = nn.Sequential(ConvLayer(half, half), ConvLayer(half, half, with_act=False))
        self.conv3 = nn.Sequential(
            ConvLayer(half, 4 * dim, stride=2),
            ConvLayer(4 * dim, dim, kernel_size=1, with_act=False),
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image)
        return self.conv3(x + self.conv2(x)).permute(0, 2, 3, 1)


class ExpandedDownsample(nn.Module):
    """Halves a map by a depth-wise convolution on four times the channels that it ends with."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        wide = 4 * dim
        self.conv = nn.Sequential(
            ConvLayer(in_dim, wide, kernel_size=1, bias=True, with_norm=False),
            ConvLayer(wide, wide, stride=2, groups=wide, bias=True, with_norm=False),
            ConvLayer(wide, dim, kernel_size=1, bias=True, with_act=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

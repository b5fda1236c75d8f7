"""The convolutions of MambaVision: stem, down-sampling and the block of its first stages."""

from torch import Tensor, nn

from mmvmamba.layers import drop_path, layer_scale_parameter

__all__ = ['ConvBlock', 'Downsample', 'PatchEmbed']


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
        return self.conv_down(x)


class Downsample(nn.Module):
    """Halves the resolution and doubles the channels, without norm or activation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(x)


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
        # The biases before BatchNorm do nothing in training, but the released weights hold them.
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(dim)
        # The MLP of the token blocks uses the exact GELU.
        self.act1 = nn.GELU(approximate='tanh')
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.gamma = layer_scale_parameter(layer_scale, dim)
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.gamma is not None:
            y = y * self.gamma[:, None, None]
        return x + self.drop_path(y)

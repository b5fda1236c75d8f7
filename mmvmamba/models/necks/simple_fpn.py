"""ViTDet's feature pyramid, made from the one map of a backbone of constant width."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvmamba.layers import LayerNorm2d
from mmvmamba.registry import MODELS

__all__ = ['SimpleFPN']


@MODELS.register_module()
class SimpleFPN(BaseModule):
    """The simple feature pyramid of ViTDet, `<https://arxiv.org/abs/2203.16527>`_.

    Each level is made from the same map: scaled by transposed convolutions or max pooling, then a
    1 x 1 and a 3 x 3 convolution, each with a LayerNorm over the channels and no activation.

    Args:
        in_channels: Channels of the map.
        out_channels: Channels of the pyramid.
        stride: Stride of the map.
        scales: Size of each level relative to the map, of 4, 2, 1 and 0.5. A level of stride s is
            named ``simfp_{log2(s)}`` in the state dict, as in the official code.
        num_outs: Number of levels returned; those beyond ``scales`` subsample the last one.
        init_cfg: Initialisation config of mmengine.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        stride: int = 16,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_outs < len(scales):
            raise ValueError(f'num_outs must be at least {len(scales)}, got {num_outs}')
        self.num_outs = num_outs
        self.level_names = []
        for scale in scales:
            layers, channels = scaling_layers(in_channels, scale)
            layers += [
                ConvNorm(channels, out_channels, kernel_size=1),
                ConvNorm(out_channels, out_channels, kernel_size=3),
            ]
            self.level_names.append(f'simfp_{int(math.log2(stride / scale))}')
            self.add_module(self.level_names[-1], nn.Sequential(*layers))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Makes the pyramid.

        Args:
            inputs: The one map of the backbone, ``(N, C, h, w)``, in a sequence.

        Returns:
            The levels, finest first.
        """
        if len(inputs) != 1:
            raise ValueError(f'SimpleFPN takes one map, got {len(inputs)}')
        levels = [getattr(self, name)(inputs[0]) for name in self.level_names]
        while len(levels) < self.num_outs:
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)


class ConvNorm(nn.Conv2d):
    """A convolution that keeps its norm inside, where the official keys have it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.norm = LayerNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


def scaling_layers(channels: int, scale: float) -> tuple[list[nn.Module], int]:
    """The layers that scale a map, and the number of channels that come out of them."""
    if scale == 4:
        layers = [
            nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2),
            LayerNorm2d(channels // 2),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 2, channels // 4, kernel_size=2, stride=2),
        ]
        return layers, channels // 4
    if scale == 2:
        return [nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)], channels // 2
    if scale == 1:
        return [], channels
    if scale == 0.5:
        return [nn.MaxPool2d(kernel_size=2, stride=2)], channels
    raise ValueError(f'scales must be of 4, 2, 1 and 0.5, got {scale}')

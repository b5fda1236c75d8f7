"""Normalisation over the channels of an NCHW map."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.registry import MODELS

__all__ = ['LayerNorm2d']


@MODELS.register_module('LN2d')
class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of an ``(N, C, H, W)`` map."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2)

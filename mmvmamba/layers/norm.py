"""Normalisation layers of NCHW maps, and their choice by a config."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.registry import MODELS

__all__ = ['LayerNorm2d', 'build_norm2d']


@MODELS.register_module('LN2d')
class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of an ``(N, C, H, W)`` map."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


NORMS = {'BN': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm, 'LN2d': LayerNorm2d}


def build_norm2d(norm_cfg: dict, num_channels: int) -> nn.Module:
    """Builds the norm layer of a config such as ``dict(type='SyncBN', requires_grad=True)``."""
    settings = dict(norm_cfg)
    kind = settings.pop('type', None)
    if kind not in NORMS:
        raise ValueError(f'norm_cfg must have a type of {sorted(NORMS)}, got {norm_cfg}')
    requires_grad = settings.pop('requires_grad', True)
    return NORMS[kind](num_channels, **settings).requires_grad_(requires_grad)

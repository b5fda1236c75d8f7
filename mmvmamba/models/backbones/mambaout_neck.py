"""The classification neck of MambaOut: pooling and the first layer of its MLP head."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvmamba.registry import MODELS

__all__ = ['MambaOutNeck']


@MODELS.register_module()
class MambaOutNeck(BaseModule):
    """Mean pooling, norm, linear layer, GELU and norm; a linear classifier goes on from there.

    Args:
        in_channels: Channels of the last map.
        mlp_ratio: Channels put out per channel of the map.
        with_inner_norm: Whether a norm follows the activation. timm's own variants have none.
        dropout: Dropout of the output, in training.
        init_cfg: Initialisation config of mmengine.
    """

    def __init__(
        self,
        in_channels: int,
        mlp_ratio: int = 4,
        with_inner_norm: bool = True,
        dropout: float = 0.0,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_channels = mlp_ratio * in_channels
        self.norm = nn.LayerNorm(in_channels, eps=1e-6)
        self.fc1 = nn.Linear(in_channels, self.out_channels)
        self.inner_norm = (
            nn.LayerNorm(self.out_channels, eps=1e-6) if with_inner_norm else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)

    def init_weights(self) -> None:
        if not self.is_init:
            nn.init.trunc_normal_(self.fc1.weight, std=0.02)
            nn.init.zeros_(self.fc1.bias)
        super().init_weights()

    def forward(self, maps: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """Maps the last of the maps, ``(N, in_channels, H, W)``, to ``(N, out_channels)``."""
        x = maps if isinstance(maps, Tensor) else maps[-1]
        x = self.norm(x.mean(dim=(2, 3)))
        return (self.dropout(self.inner_norm(F.gelu(self.fc1(x)))),)

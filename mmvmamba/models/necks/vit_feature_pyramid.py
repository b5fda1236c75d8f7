"""The pyramid that BEiT and Vim make for UperNet from maps of a backbone of constant stride."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvmamba.layers import build_norm2d
from mmvmamba.registry import MODELS

__all__ = ['ViTFeaturePyramid']


@MODELS.register_module()
class ViTFeaturePyramid(BaseModule):
    """Scales four maps, or one map four times, to strides of 4, 8, 16 and 32 pixels.

    Args:
        in_channels: Channels of the maps, kept.
        stride: Stride of the maps, 16 or 8.
        norm_cfg: The norm inside the first operation at stride 16; by default SyncBN.
        init_cfg: Initialisation config of mmengine.
    """

    fpn1: nn.Module
    fpn2: nn.Module
    fpn3: nn.Module
    fpn4: nn.Module

    def __init__(
        self,
        in_channels: int,
        stride: int = 16,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)

        def up() -> nn.Module:
            return nn.ConvTranspose2d(in_channels, in_channels, kernel_size=2, stride=2)

        if stride == 16:
            norm = build_norm2d(norm_cfg or dict(type='SyncBN'), in_channels)
            self.fpn1 = nn.Sequential(up(), norm, nn.GELU(), up())
            self.fpn2 = nn.Sequential(up())
            self.fpn3 = nn.Identity()
            self.fpn4 = nn.MaxPool2d(kernel_size=2, stride=2)
        elif stride == 8:
            self.fpn1 = nn.Sequential(up())
            self.fpn2 = nn.Identity()
            self.fpn3 = nn.MaxPool2d(kernel_size=2, stride=2)
            self.fpn4 = nn.MaxPool2d(kernel_size=4, stride=4)
        else:
            raise ValueError(f'stride must be 16 or 8, got {stride}')

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Makes the pyramid.

        Args:
            inputs: Four maps, ``(N, C, h, w)`` each, or one that stands for all.

        Returns:
            Four maps, finest first.
        """
        if len(inputs) not in (1, 4):
            raise ValueError(f'ViTFeaturePyramid takes 1 or 4 maps, got {len(inputs)}')
        maps = [inputs[0]] * 4 if len(inputs) == 1 else inputs
        operations = (self.fpn1, self.fpn2, self.fpn3, self.fpn4)
        return tuple(operation(x) for operation, x in zip(operations, maps, strict=True))

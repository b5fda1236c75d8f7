"""Region features with a scaled gradient, as detectron2's cascade heads have them.

This module imports mmdet; configs that use it name it in ``custom_imports``.
"""

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from mmvmamba.registry import MODELS

__all__ = ['ScaledGradientRoIExtractor']


@MODELS.register_module()
class ScaledGradientRoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor`` whose gradient to the pyramid is multiplied by a constant.

    Args:
        roi_layer: The layer that pools a region.
        out_channels: Channels of the pyramid.
        featmap_strides: Strides of its levels.
        finest_scale: Largest scale of a region that goes to the finest level.
        gradient_scale: The constant; a cascade of n stages uses 1 / n.
        init_cfg: Initialisation config of mmengine.
    """

    def __init__(
        self,
        roi_layer: dict,
        out_channels: int,
        featmap_strides: list[int],
        finest_scale: int = 56,
        gradient_scale: float = 1.0,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, finest_scale, init_cfg)
        self.gradient_scale = gradient_scale

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        regions = super().forward(feats, rois, roi_scale_factor)
        # The value is that of the regions; only the part that is not detached has a gradient.
        return regions.detach().lerp(regions, self.gradient_scale) if self.training else regions

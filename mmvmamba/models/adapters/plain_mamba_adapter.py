"""PlainMamba with an adapter: the backbone of its detectors."""

from collections.abc import Sequence

from torch import Tensor

from mmvmamba.models.backbones import PlainMamba
from mmvmamba.registry import MODELS

from .pyramid_adapter import PyramidAdapter, pad_to_divisor

__all__ = ['PlainMambaAdapter']


@MODELS.register_module()
class PlainMambaAdapter(PyramidAdapter, PlainMamba):
    """PlainMamba that returns four maps, at strides 4, 8, 16 and 32, for a feature pyramid.

    An image whose sides are not multiples of 32 is padded with zeros at the bottom and right.

    Args:
        arch: See ``PlainMamba``.
        in_channels: Channels of the image.
        img_size: Size that the position embedding was made for.
        drop_rate: Dropout after the position embedding.
        drop_path_rate: Stochastic depth of the last block, and of every extractor's MLP.
        interaction_indexes: First and last block of each interaction; None: four of equal length.
        conv_inplane: Channels of the spatial prior's first convolutions.
        n_points: Samples per head and level of the deformable attention.
        deform_num_heads: Its heads; the released L3 has 8.
        deform_ratio: Ratio of its inner width to the backbone's.
        init_values: Initial scale of what injectors add to the tokens.
        with_cffn: Whether extractors end in a convolutional MLP.
        cffn_ratio: Ratio of its hidden width to the backbone's.
        use_extra_extractor: Whether the last interaction has two more extractors.
        add_vit_feature: Whether the backbone's map is added to each level at the end.
        norm_cfg: Norm layers of the adapter.
        use_mamba_dt_init: See ``PlainMamba``.
        frozen_stages: Freezes the stem and the first blocks, never the adapter.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass.
        init_cfg: Initialisation config of mmengine.
    """

    def __init__(
        self,
        arch: str | dict = 'L1',
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        interaction_indexes: Sequence[Sequence[int]] | None = None,
        conv_inplane: int = 64,
        n_points: int = 4,
        deform_num_heads: int = 6,
        deform_ratio: float = 1.0,
        init_values: float = 0.0,
        with_cffn: bool = True,
        cffn_ratio: float = 0.25,
        use_extra_extractor: bool = True,
        add_vit_feature: bool = True,
        norm_cfg: dict | None = None,
        use_mamba_dt_init: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        # Detectors have no final norm: the adapter norms its four outputs.
        super().__init__(
            arch,
            in_channels,
            img_size,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            final_norm=False,
            use_mamba_dt_init=use_mamba_dt_init,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self.build_adapter(
            in_channels=in_channels,
            interaction_indexes=interaction_indexes,
            conv_inplane=conv_inplane,
            n_points=n_points,
            deform_num_heads=deform_num_heads,
            deform_ratio=deform_ratio,
            init_values=init_values,
            with_cffn=with_cffn,
            cffn_ratio=cffn_ratio,
            drop_path_rate=drop_path_rate,
            use_extra_extractor=use_extra_extractor,
            add_vit_feature=add_vit_feature,
            norm_cfg=norm_cfg,
        )

    def init_own_weights(self) -> None:
        super().init_own_weights()
        self.init_adapter()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        image = pad_to_divisor(x)
        tokens, grid = self.embed(image)

        def run_blocks(x: Tensor, first: int, last: int) -> Tensor:
            return self.run_layers(x, first, last, grid)

        return self.adapt(image, tokens, grid, run_blocks)

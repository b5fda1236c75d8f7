"""Vim with an adapter: a backbone for detectors that keeps its blocks at stride 16."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmvmamba.models.backbones import VisionMamba
from mmvmamba.models.backbones.vim import add_to_stream, turn
from mmvmamba.ops.scan_order import reversed_order
from mmvmamba.registry import MODELS

from .pyramid_adapter import PyramidAdapter, pad_to_divisor

__all__ = ['VimAdapter']


@MODELS.register_module()
class VimAdapter(PyramidAdapter, VisionMamba):
    """Vim that returns four maps, at strides 4, 8, 16 and 32, for a feature pyramid.

    Between interactions the residual stream is whole: injectors add to it, extractors read it. An
    image whose sides are not multiples of 32 is padded with zeros at the bottom and right.

    Args:
        arch: A row of ``arch_zoo``, or a dict with keys of its rows.
        in_channels: Channels of the image.
        img_size: Size that the position embedding is made for.
        mixer: Settings of the mixers.
        use_rope: See ``VisionMamba``.
        use_divide_out: See ``VisionMamba``.
        drop_rate: Dropout after the position embedding.
        drop_path_rate: Stochastic depth of the last block, and of every extractor's MLP.
        interaction_indexes: First and last block of each interaction; None: four of equal length.
        conv_inplane: Channels of the spatial prior's first convolutions.
        n_points: Samples per head and level of the deformable attention.
        deform_num_heads: Its heads.
        deform_ratio: Ratio of its inner width to the backbone's.
        init_values: Initial scale of what injectors add to the tokens.
        with_cffn: Whether extractors end in a convolutional MLP.
        cffn_ratio: Ratio of its hidden width to the backbone's.
        use_extra_extractor: Whether the last interaction has two more extractors.
        add_vit_feature: Whether the backbone's map is added to each level at the end.
        norm_cfg: Norm layers of the adapter.
        frozen_stages: Freezes the stem and the first blocks, never the adapter.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass.
        init_cfg: Initialisation config of mmengine.
    """

    # The overlapping patches of the _plus rows have stride 8, where an adapter is of no use.
    arch_zoo = {name: row for name, row in VisionMamba.arch_zoo.items() if 'stride' not in row}

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        mixer: dict | None = None,
        use_rope: bool | None = None,
        use_divide_out: bool | None = None,
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
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            arch,
            in_channels,
            img_size,
            class_token='none',
            last_layer_process='add',
            mixer=mixer,
            use_rope=use_rope,
            use_divide_out=use_divide_out,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        if self.stride != 16:
            raise ValueError(f'VimAdapter needs patches of stride 16, got {self.stride}')
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

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        image = pad_to_divisor(x)
        tokens, grid = self.embed(image)
        orders = reversed_order(tokens.shape[1]).to(x.device)
        angles = None if self.rope is None else self.rope(grid, num_skipped=0)

        def run_blocks(hidden: Tensor, first: int, last: int) -> Tensor:
            residual = None
            for layer in self.layers[first : last + 1]:
                hidden, residual = turn(hidden, angles), turn(residual, angles)
                hidden, residual = self.run_block(layer, hidden, residual, orders)
            return add_to_stream(self.drop_path_after(last)(hidden), residual).to(hidden.dtype)

        return self.adapt(image, tokens, grid, run_blocks)

    def drop_path_after(self, index: int) -> nn.Module:
        """What drops the output of a block: the next block's stochastic depth, or the last one."""
        return (*(layer.drop_path for layer in self.layers), self.drop_path)[index + 1]

"""PlainMamba with an adapter: the backbone of its detectors."""

from collections.abc import Sequence

from torch import Tensor

from mmvmamba.models.backbones import PlainMamba
from mmvmamba.registry import MODELS

from .pyramid_adapter import AdapterSettings, PyramidAdapter

__all__ = ['PlainMambaAdapter']

Grid = tuple[int, int]


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
        adapter: ``AdapterSettings``, or a dict of some of them; the released L3 has 8
            ``deform_num_heads``.
        out_indices: Which of the four maps are put out.
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
        adapter: AdapterSettings | dict | None = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
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
        self.build_adapter(adapter, in_channels, drop_path_rate, out_indices)

    def block_inputs(self, tokens: Tensor, grid: Grid) -> Grid:
        return grid

    def run_blocks(self, tokens: Tensor, first: int, last: int, inputs: Grid) -> Tensor:
        for layer in self.layers[first : last + 1]:
            tokens = self.run_block(layer, tokens, inputs)
        return tokens

"""Vim with an adapter: a backbone for detectors that keeps its blocks at stride 16."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmvmamba.models.backbones import VisionMamba
from mmvmamba.models.backbones.vim import add_to_stream, turn
from mmvmamba.ops.scan_order import reversed_order
from mmvmamba.registry import MODELS

from .pyramid_adapter import AdapterSettings, PyramidAdapter

__all__ = ['VimAdapter']

Grid = tuple[int, int]
Angles = tuple[Tensor, Tensor] | None


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
        adapter: ``AdapterSettings``, or a dict of some of them.
        out_indices: Which of the four maps are put out.
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
        adapter: AdapterSettings | dict | None = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
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
        self.build_adapter(adapter, in_channels, drop_path_rate, out_indices)

    def block_inputs(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Angles]:
        orders = reversed_order(tokens.shape[1], tokens.device)
        return orders, None if self.rope is None else self.rope(grid, num_skipped=0)

    def run_blocks(
        self, tokens: Tensor, first: int, last: int, inputs: tuple[Tensor, Angles]
    ) -> Tensor:
        hidden, (orders, angles) = tokens, inputs
        residual: Tensor | None = None
        for layer in self.layers[first : last + 1]:
            hidden, residual = turn(hidden, residual, angles)
            hidden, residual = self.run_block(layer, hidden, residual, orders)
        return add_to_stream(self.drop_path_after(last)(hidden), residual).to(hidden.dtype)

    def drop_path_after(self, index: int) -> nn.Module:
        """What drops the output of a block: the next block's stochastic depth, or the last one."""
        return (*(layer.drop_path for layer in self.layers), self.drop_path)[index + 1]

"""A ViT-Adapter around a backbone of constant width: four maps at strides 4, 8, 16 and 32."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import build_norm2d, laid_out, pad_to_multiple, settled, tokens_to_map
from mmvmamba.models.backbones.base import BaseBackbone, resolve_out_indices

from .modules import (
    Interaction,
    PyramidGeometry,
    SpatialPrior,
    init_adapter_weights_,
    split_pyramid,
)

__all__ = ['AdapterSettings', 'PyramidAdapter']

Grid = tuple[int, int]

# Height and width are padded to this multiple, so that the grid at stride 16 can be halved.
SIZE_DIVISOR = 32
# Beside the backbone's own map, at stride 16, each level is this many times as large.
SCALES = (4, 2, 1, 0.5)


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter is made of.

    Args:
        interaction_indexes: First and last block (both included) of each interaction; None: four
            of equal length.
        conv_inplane: Channels of the spatial prior's first convolutions.
        n_points: Samples per head and level of the deformable attention.
        deform_num_heads: Its heads.
        deform_ratio: Ratio of its inner width to the backbone's.
        init_values: Initial scale of what injectors add to the tokens.
        with_cffn: Whether extractors end in a convolutional MLP.
        cffn_ratio: Ratio of its hidden width to the backbone's.
        use_extra_extractor: Whether the last interaction has two more extractors.
        add_vit_feature: Whether the backbone's map is added to each level at the end.
        norm_cfg: Norm layers of the spatial prior and the outputs; None: BN.
    """

    interaction_indexes: Sequence[Sequence[int]] | None = None
    conv_inplane: int = 64
    n_points: int = 4
    deform_num_heads: int = 6
    deform_ratio: float = 1.0
    init_values: float = 0.0
    with_cffn: bool = True
    cffn_ratio: float = 0.25
    use_extra_extractor: bool = True
    add_vit_feature: bool = True
    norm_cfg: dict | None = None

    @classmethod
    def of(cls, adapter: 'AdapterSettings | dict | None') -> 'AdapterSettings':
        """Returns the settings that a config gives as a dict, or None for the defaults.

        Raises:
            ValueError: The dict has a key that is no setting.
        """
        if isinstance(adapter, AdapterSettings):
            return adapter
        allowed = [field.name for field in fields(cls)]
        unknown = sorted(set(adapter or ()) - set(allowed))
        if unknown:
            raise ValueError(f'adapter may have the keys {allowed}, got {unknown}')
        return cls(**(adapter or {}))

    def blocks_of_interactions(self, num_layers: int) -> list[tuple[int, int]]:
        """First and last block of each interaction.

        Raises:
            ValueError: They do not cover the blocks in order, or four cannot be of equal length.
        """
        if self.interaction_indexes is not None:
            _check_interactions(self.interaction_indexes, num_layers)
            return [(first, last) for first, last in self.interaction_indexes]
        if num_layers % 4:
            raise ValueError(
                f'interaction_indexes must be given for {num_layers} blocks, not a multiple of 4'
            )
        step = num_layers // 4
        return [(first, first + step - 1) for first in range(0, num_layers, step)]


class PyramidAdapter(BaseBackbone):
    """What an adapter adds to a columnar backbone; put before it by a subclass of both.

    The modules sit beside those of the backbone, under the names of the official files. The
    backbone has ``embed_dims``, ``layers``, ``embed(image) -> (tokens, grid)``, and says with
    ``block_inputs`` and ``run_blocks`` how a part of its blocks is run.
    """

    embed_dims: int
    layers: Any  # a ModuleList, whose members torch gives no types
    embed: Any  # the backbone's method

    task_only_keys = (r'(level_embed$|spm\.|interactions\.|up\.|ad_norm[1-4]\.)',)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that is put out."""
        return (self.embed_dims,) * len(self.out_indices)

    def build_adapter(
        self,
        adapter: AdapterSettings | dict | None,
        in_channels: int,
        drop_path_rate: float,
        out_indices: int | Sequence[int],
    ) -> None:
        """Adds the adapter's modules; ``self.embed_dims`` and ``self.layers`` must be there.

        Args:
            adapter: The settings.
            in_channels: Channels of the image.
            drop_path_rate: Stochastic depth of the extractors' MLPs, the same in each.
            out_indices: Levels that are put out.
        """
        settings = AdapterSettings.of(adapter)
        self.out_indices = resolve_out_indices(out_indices, len(SCALES))
        norm_cfg = settings.norm_cfg or dict(type='BN')
        self.interaction_blocks = settings.blocks_of_interactions(len(self.layers))
        self.add_vit_feature = settings.add_vit_feature
        last = len(self.interaction_blocks) - 1

        self.level_embed = nn.Parameter(torch.randn(3, self.embed_dims))
        # What only the finest map needs would get no gradient without it.
        finest = 0 in self.out_indices
        self.spm = SpatialPrior(
            in_channels, settings.conv_inplane, self.embed_dims, norm_cfg, finest
        )
        self.interactions: Any = nn.ModuleList(
            Interaction(
                self.embed_dims,
                attention=dict(
                    num_heads=settings.deform_num_heads,
                    num_points=settings.n_points,
                    ratio=settings.deform_ratio,
                ),
                extractor=dict(
                    with_cffn=settings.with_cffn,
                    cffn_ratio=settings.cffn_ratio,
                    drop_path_rate=drop_path_rate,
                ),
                init_values=settings.init_values,
                num_extra_extractors=2 if settings.use_extra_extractor and i == last else 0,
            )
            for i in range(len(self.interaction_blocks))
        )
        if finest:
            self.up = nn.ConvTranspose2d(self.embed_dims, self.embed_dims, 2, stride=2)
        for i in sorted(set(self.out_indices)):
            self.add_module(f'ad_norm{i + 1}', build_norm2d(norm_cfg, self.embed_dims))
        for module in (self.spm, self.interactions, *([self.up] if finest else [])):
            init_adapter_weights_(module)

    def block_inputs(self, tokens: Tensor, grid: Grid) -> Any:
        """Returns what all blocks take beside the tokens."""
        raise NotImplementedError

    def run_blocks(self, tokens: Tensor, first: int, last: int, inputs: Any) -> Tensor:
        """Runs the blocks from one index to another, both included, on the whole stream."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns those of the maps of C channels at strides 4, 8, 16 and 32 that are wanted."""
        image = pad_to_multiple(image, SIZE_DIVISOR, SIZE_DIVISOR)
        x, grid = self.embed(image)
        inputs = self.block_inputs(x, grid)
        geometry = PyramidGeometry.of(grid, like=x)
        c1, c = self.spatial_prior(image)
        for interaction, (first, last) in zip(
            self.interactions, self.interaction_blocks, strict=True
        ):
            x = interaction.inject(x, c, geometry)
            x = self.run_blocks(x, first, last, inputs)
            c = interaction.extract(c, x, geometry)
        return self.pyramid(c1, c, x, geometry)

    def spatial_prior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """A map at stride 4, and the tokens of the maps at strides 8, 16 and 32 in one sequence."""
        c1, *levels = self.spm(image)
        embedded = [tokens + embed for tokens, embed in zip(levels, self.level_embed, strict=True)]
        return c1, torch.cat(embedded, dim=1)

    def pyramid(
        self, c1: Tensor, c: Tensor, x: Tensor, geometry: PyramidGeometry
    ) -> tuple[Tensor, ...]:
        """Normed maps: the pyramid's own, with the backbone's added where it is wanted."""
        levels = [c1, *split_pyramid(c, geometry.grids)]
        stride16 = tokens_to_map(x, geometry.grid) if self.add_vit_feature else None

        def level(i: int) -> Tensor:
            own = self.up(levels[1]) + c1 if i == 0 else levels[i]
            if stride16 is not None:
                own = own + _rescaled(stride16, SCALES[i])
            normed: Tensor = getattr(self, f'ad_norm{i + 1}')(settled(own))
            return normed

        maps = {i: level(i) for i in sorted(set(self.out_indices))}
        return laid_out(maps[i] for i in self.out_indices)


def _rescaled(x: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)


def _check_interactions(indexes: Sequence[Sequence[int]], num_layers: int) -> None:
    expected = 0
    for pair in indexes:
        if len(pair) != 2 or pair[0] != expected or pair[1] < pair[0]:
            break
        expected = pair[1] + 1
    else:
        if expected == num_layers:
            return
    raise ValueError(
        'interaction_indexes must be pairs (first, last) that cover the blocks '
        f'0 to {num_layers - 1} in order without gaps, got {[list(pair) for pair in indexes]}'
    )

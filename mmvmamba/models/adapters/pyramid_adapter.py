"""A ViT-Adapter around a backbone of constant width: four maps at strides 4, 8, 16 and 32."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import build_norm2d

from .modules import Interaction, SpatialPrior, init_adapter_weights_, pyramid_grids

__all__ = ['PyramidAdapter']

Grid = tuple[int, int]

# Height and width are padded to this multiple, so that the grid at stride 16 can be halved.
SIZE_DIVISOR = 32


class PyramidAdapter:
    """What an adapter adds to a columnar backbone; mixed into a subclass of the backbone.

    The modules sit beside those of the backbone, under the names of the official files.
    """

    task_only_keys = (r'(level_embed$|spm\.|interactions\.|up\.|ad_norm[1-4]\.)',)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that is put out."""
        return (self.embed_dims,) * 4

    def build_adapter(
        self,
        in_channels: int,
        interaction_indexes: Sequence[Sequence[int]] | None,
        conv_inplane: int,
        n_points: int,
        deform_num_heads: int,
        deform_ratio: float,
        init_values: float,
        with_cffn: bool,
        cffn_ratio: float,
        drop_path_rate: float,
        use_extra_extractor: bool,
        add_vit_feature: bool,
        norm_cfg: dict | None,
    ) -> None:
        """Adds the adapter's modules; ``self.embed_dims`` and ``self.layers`` must be there.

        Args:
            in_channels: Channels of the image.
            interaction_indexes: First and last block (both included) of each interaction; None:
                four of equal length.
            conv_inplane: Channels of the spatial prior's first convolutions.
            n_points: Samples per head and level of the deformable attention.
            deform_num_heads: Its heads.
            deform_ratio: Ratio of its inner width to the backbone's.
            init_values: Initial scale of what injectors add.
            with_cffn: Whether extractors end in a convolutional MLP.
            cffn_ratio: Ratio of its hidden width to the backbone's.
            drop_path_rate: Its stochastic depth, the same in every extractor.
            use_extra_extractor: Whether the last interaction has two more extractors.
            add_vit_feature: Whether the backbone's map is added to each level at the end.
            norm_cfg: Norm layers of the spatial prior and the outputs; None: BN.
        """
        norm_cfg = norm_cfg or dict(type='BN')
        interaction_indexes = interaction_indexes or _quarters(len(self.layers))
        _check_interactions(interaction_indexes, len(self.layers))
        self.interaction_indexes = [tuple(pair) for pair in interaction_indexes]
        self.add_vit_feature = add_vit_feature
        attention = dict(num_heads=deform_num_heads, num_points=n_points, ratio=deform_ratio)
        extractor = dict(with_cffn=with_cffn, cffn_ratio=cffn_ratio, drop_path_rate=drop_path_rate)
        last = len(interaction_indexes) - 1

        self.level_embed = nn.Parameter(torch.randn(3, self.embed_dims))
        self.spm = SpatialPrior(in_channels, conv_inplane, self.embed_dims, norm_cfg)
        self.interactions = nn.ModuleList(
            Interaction(
                self.embed_dims,
                attention,
                extractor,
                init_values,
                num_extra_extractors=2 if use_extra_extractor and i == last else 0,
            )
            for i in range(len(interaction_indexes))
        )
        self.up = nn.ConvTranspose2d(self.embed_dims, self.embed_dims, 2, stride=2)
        for i in range(1, 5):
            self.add_module(f'ad_norm{i}', build_norm2d(norm_cfg, self.embed_dims))
        self.init_adapter()

    def init_adapter(self) -> None:
        for module in (self.spm, self.interactions, self.up):
            init_adapter_weights_(module)
        nn.init.normal_(self.level_embed)

    def adapt(
        self,
        image: Tensor,
        x: Tensor,
        grid: Grid,
        run_blocks: Callable[[Tensor, int, int], Tensor],
    ) -> tuple[Tensor, ...]:
        """Runs the backbone's blocks between interactions with the pyramid.

        Args:
            image: ``(N, in_channels, H, W)``, H and W multiples of 32.
            x: The backbone's tokens, ``(N, h * w, C)``.
            grid: Their grid (h, w).
            run_blocks: Runs the blocks from one index to another, both included.

        Returns:
            Maps of C channels at strides 4, 8, 16 and 32.
        """
        c1, c2, c3, c4 = self.spm(image)
        levels = zip((c2, c3, c4), self.level_embed, strict=True)
        c = torch.cat([tokens + embed for tokens, embed in levels], dim=1)
        for interaction, (first, last) in zip(
            self.interactions, self.interaction_indexes, strict=True
        ):

            def run(tokens: Tensor, first: int = first, last: int = last) -> Tensor:
                return run_blocks(tokens, first, last)

            x, c = interaction(x, c, run, grid)

        grids = pyramid_grids(grid)
        tokens = c.split([height * width for height, width in grids], dim=1)
        c2, c3, c4 = (
            level.transpose(1, 2).unflatten(2, level_grid)
            for level, level_grid in zip(tokens, grids, strict=True)
        )
        maps = [self.up(c2) + c1, c2, c3, c4]
        if self.add_vit_feature:
            stride16 = x.transpose(1, 2).unflatten(2, grid)
            maps = [
                level + _rescaled(stride16, scale)
                for level, scale in zip(maps, (4, 2, 1, 0.5), strict=True)
            ]
        return tuple(getattr(self, f'ad_norm{i}')(level) for i, level in enumerate(maps, start=1))


def _quarters(num_layers: int) -> list[tuple[int, int]]:
    """First and last block of four interactions of equal length."""
    if num_layers % 4:
        raise ValueError(
            f'interaction_indexes must be given for {num_layers} blocks, not a multiple of 4'
        )
    step = num_layers // 4
    return [(first, first + step - 1) for first in range(0, num_layers, step)]


def pad_to_divisor(image: Tensor) -> Tensor:
    """Adds zeros at the bottom and right up to the next multiple of 32."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR))


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

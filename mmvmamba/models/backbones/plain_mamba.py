"""PlainMamba: identical Mamba blocks of constant width, scanned along four continuous paths.

Paper: https://arxiv.org/abs/2403.17695. In this file N is the batch, (h, w) the grid of tokens,
L = h * w, C the width of the network, E = expand * C that inside a mixer, S the size of the state.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmvmamba.layers import (
    ReadLinear,
    drop_path,
    drop_path_rates,
    fit_position_table,
    init_dt_proj_,
    initial_A_log,
    laid_out,
    layer_scale_parameter,
    map_to_tokens,
    pad_to_multiple,
    resize_position_grid,
    resolve_dt_rank,
    state_matrix,
    tokens_to_map,
)
from mmvmamba.layers.aligned_projection import project_parts
from mmvmamba.layers.evaluation import (
    add_and_norm,
    convolve,
    convolve_all,
    fuses,
    is_plain,
    kept_of_weights,
    linear,
    linear_halves,
)
from mmvmamba.ops.scan_order import snake_orders
from mmvmamba.ops.selective_scan import selective_scan
from mmvmamba.registry import MODELS

from .base import BaseBackbone, check_images, resolve_arch, resolve_out_indices

__all__ = ['PlainMamba', 'PlainMambaBlock', 'PlainMambaMixer', 'PlainMambaStem']

Grid = tuple[int, int]


class PlainMambaStem(nn.Module):
    """Convolutions to stride 2, then non-overlapping patches of half the patch size.

    Args:
        in_channels: Channels of the image.
        embed_dims: Width of the tokens.
        num_convs: Number of 3 x 3 convolutions between the first one and the patches.
        patch_size: Stride of the tokens, even.
    """

    def __init__(self, in_channels: int, embed_dims: int, num_convs: int, patch_size: int) -> None:
        super().__init__()
        if patch_size % 2:
            raise ValueError(f'patch_size must be even, got {patch_size}')
        width = 64
        self.half_patch = patch_size // 2
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.convs = nn.Sequential(
            *(
                layer
                for _ in range(num_convs)
                for layer in (
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                )
            )
        )
        self.projection = nn.Conv2d(width, embed_dims, self.half_patch, stride=self.half_patch)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        x = convolve_all(self.convs, convolve_all(self.stem, x))
        # Zeros go to the bottom and right of this map, not of the image: the released weights were
        # trained so.
        x = convolve(self.projection, pad_to_multiple(x, self.half_patch, self.half_patch))
        return map_to_tokens(x), (x.shape[2], x.shape[3])


class PlainMambaMixer(nn.Module):
    """A selective scan along four snake paths over the grid, told at each step from where it came.

    Only the input follows the paths. The step sizes and the input and output matrices stay in
    raster order and are read by step, which is not what the paper describes but what the released
    weights were trained with.

    Args:
        embed_dims: Width C.
        d_state: Size S of the state.
        d_conv: Odd size of the depth-wise convolution.
        expand: Ratio of the inner width E to C.
        dt_rank: Rank of the step-size projection, or 'auto'.
        layer_scale: Initial value of a learnt scale of the output; None for no scale.
    """

    def __init__(
        self,
        embed_dims: int,
        d_state: int = 16,
        d_conv: int = 7,
        expand: int = 2,
        dt_rank: int | Literal['auto'] = 'auto',
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if d_conv % 2 == 0:
            raise ValueError(f'd_conv must be odd, got {d_conv}')
        inner_dims = expand * embed_dims
        self.d_state = d_state
        self.dt_rank = resolve_dt_rank(dt_rank, embed_dims)
        self.halved_layers = ('in_proj',)
        self.in_proj = nn.Linear(embed_dims, 2 * inner_dims)
        self.conv2d = nn.Conv2d(
            inner_dims, inner_dims, d_conv, padding=d_conv // 2, groups=inner_dims
        )
        self.x_proj = nn.Linear(inner_dims, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = ReadLinear(self.dt_rank, inner_dims)
        self.A_log = nn.Parameter(initial_A_log(inner_dims, d_state))
        self.D = nn.Parameter(torch.ones(inner_dims))
        # One row for each way a token is reached: start, right, left, up, down.
        self.direction_Bs = nn.Parameter(nn.init.trunc_normal_(torch.empty(5, d_state), std=0.02))
        self.out_proj = nn.Linear(inner_dims, embed_dims)
        self.gamma = layer_scale_parameter(layer_scale, embed_dims)
        init_dt_proj_(self.dt_proj)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x, z = linear_halves(self.in_proj, x)
        x = x.unflatten(1, grid).permute(0, 3, 1, 2)  # (N, E, h, w)
        u = convolve(self.conv2d, x, 'silu').permute(0, 2, 3, 1).flatten(1, 2)  # (N, L, E)

        sizes = (self.dt_rank, self.d_state, self.d_state)
        dt, B, C = project_parts(u, self.x_proj, sizes)
        orders, moves = snake_orders(*grid, x.device)
        y = selective_scan(
            u,
            # The bias of dt_proj enters twice, here and as delta_bias: the released weights were
            # trained so.
            linear(self.dt_proj, dt),
            kept_of_weights(self, 'A', state_matrix, self.A_log),
            B[:, None] + self._direction_terms(moves, grid, B.dtype),  # (N, 4, L, S)
            C,
            self.D,
            z=z,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
            channels_last=True,
            orders=orders,
            order_all=False,
        )
        y = linear(self.out_proj, y)
        return y if self.gamma is None else y * self.gamma

    def _direction_terms(self, moves: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        """What each step of each path adds to the input matrix, ``(4, L, S)``."""

        def make(table: Tensor) -> Tensor:
            return table.to(dtype)[moves]

        also = (grid, dtype)
        return kept_of_weights(self, 'directions', make, self.direction_Bs, also=also)


class PlainMambaBlock(nn.Module):
    """Norm and mixer around a residual connection, in some blocks followed by a depth-wise
    convolution of the sum.

    Args:
        embed_dims: Width C.
        mixer: The mixer's settings, see ``PlainMambaMixer``.
        drop_path_rate: Probability of dropping the residual branch.
        with_dwconv: Whether a convolution without a residual connection follows.
    """

    def __init__(
        self, embed_dims: int, mixer: dict, drop_path_rate: float = 0.0, with_dwconv: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dims, eps=1e-5)
        self.mamba = PlainMambaMixer(embed_dims, **mixer)
        self.drop_path = drop_path(drop_path_rate)
        self.dw = None
        if with_dwconv:
            conv = nn.Conv2d(embed_dims, embed_dims, 3, padding=1, groups=embed_dims, bias=False)
            self.dw = nn.Sequential(conv, nn.BatchNorm2d(embed_dims), nn.GELU())

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self.drop_path(self.mamba(self.norm(x), grid))
        if self.dw is not None:
            x = map_to_tokens(convolve_all(self.dw, tokens_to_map(x, grid)))
        return x

    def evaluate(
        self, x: Tensor, branch: Tensor | None, grid: Grid
    ) -> tuple[Tensor, Tensor | None]:
        """As ``forward`` of ``x + branch``, with a last sum that is left to who norms it."""
        x, normed = add_and_norm(self.norm, x, branch)
        branch = self.mamba(normed, grid)
        if self.dw is None:
            return x, branch
        return map_to_tokens(convolve_all(self.dw, tokens_to_map(x + branch, grid))), None


@MODELS.register_module()
class PlainMamba(BaseBackbone):
    """PlainMamba, `<https://arxiv.org/abs/2403.17695>`_.

    Args:
        arch: A row of ``arch_zoo``, or a dict with keys of its rows and, under ``mixer``, arguments
            of ``PlainMambaMixer``.
        in_channels: Channels of the image.
        img_size: Side (or height and width) that the position embedding was made for; any other
            size is taken as well.
        patch_size: Stride of the tokens, even.
        out_indices: Blocks whose outputs are returned.
        drop_rate: Dropout after the position embedding.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first.
        final_norm: Whether the output of the last block is normed.
        use_mamba_dt_init: Whether ``init_weights`` keeps Mamba's initialisation of the step sizes.
            The official training overwrites it with that of every other linear layer, and so does
            the default.
        frozen_stages: -1 freezes nothing, 0 the stem, n > 0 the stem and the first n blocks.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'plain_mamba'
    head_only_keys = (r'ln1\.',)
    task_only_keys = (r'norm_layer\d+\.',)
    layers: Any  # a ModuleList, whose members torch gives no types

    # Table 1 of the paper and the released configs.
    arch_zoo = {
        'L1': dict(embed_dims=192, num_layers=24, num_convs=1, layers_with_dwconv=(0,)),
        'L2': dict(embed_dims=384, num_layers=24, num_convs=2, layers_with_dwconv=()),
        'L3': dict(embed_dims=448, num_layers=36, num_convs=2, layers_with_dwconv=()),
    }

    def __init__(
        self,
        arch: str | dict = 'L1',
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        final_norm: bool = True,
        use_mamba_dt_init: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        settings = resolve_arch(arch, self.arch_zoo, optional=('mixer',))
        self.embed_dims, num_layers = settings['embed_dims'], settings['num_layers']
        self.stage_channels = (self.embed_dims,) * num_layers
        self.out_indices = resolve_out_indices(out_indices, num_layers)
        self.use_mamba_dt_init = use_mamba_dt_init

        self.patch_embed = PlainMambaStem(
            in_channels, self.embed_dims, settings['num_convs'], patch_size
        )
        self.position_grid = self._stem_grid(img_size, patch_size)
        num_positions = self.position_grid[0] * self.position_grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_positions, self.embed_dims))
        self.drop_after_pos = nn.Dropout(drop_rate)
        self.layers = nn.ModuleList(
            PlainMambaBlock(
                self.embed_dims,
                settings.get('mixer', {}),
                drop_path_rate=rate,
                with_dwconv=i in settings['layers_with_dwconv'],
            )
            for i, rate in enumerate(drop_path_rates(drop_path_rate, num_layers))
        )
        # The official name of the final norm, which belongs to the stream; the norms of other
        # outputs do not.
        self.ln1 = nn.LayerNorm(self.embed_dims, eps=1e-6) if final_norm else None
        for i in sorted(set(self.out_indices) - {num_layers - 1}):
            self.add_module(f'norm_layer{i}', nn.LayerNorm(self.embed_dims, eps=1e-6))

        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def init_own_weights(self) -> None:
        kept = {layer.mamba.dt_proj for layer in self.layers if self.use_mamba_dt_init}
        for module in self.layers.modules():
            if isinstance(module, nn.Linear) and module not in kept:
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens, grid = self.block_tokens(x, self.out_indices)
        for i in tokens:
            norm = getattr(self, f'norm_layer{i}', None)
            tokens[i] = tokens[i] if norm is None else norm(tokens[i])
        return laid_out(tokens_to_map(tokens[i], grid) for i in self.out_indices)

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        last = len(self.layers) - 1
        tokens, grid = self.block_tokens(images, (*indices, last))
        return tokens[last].mean(dim=1), [tokens_to_map(tokens[i], grid) for i in indices]

    def block_tokens(self, x: Tensor, indices: Sequence[int]) -> tuple[dict[int, Tensor], Grid]:
        """The tokens after some blocks, the last of which is normed, and their grid."""
        x, grid = self.embed(x)
        if not self.training and fuses(x) and all(map(evaluates, self.layers)):
            return self.evaluate_tokens(x, grid, indices), grid
        tokens = {}
        for i, layer in enumerate(self.layers):
            x = self.run_block(layer, x, grid)
            if i == len(self.layers) - 1 and self.ln1 is not None:
                x = self.ln1(x)
            if i in indices:
                tokens[i] = x
        return tokens, grid

    def evaluate_tokens(self, x: Tensor, grid: Grid, indices: Sequence[int]) -> dict[int, Tensor]:
        """As ``block_tokens``, with each sum of the residual stream in the kernel of a norm."""
        tokens = {}
        branch: Tensor | None = None
        for i, layer in enumerate(self.layers):
            x, branch = layer.evaluate(x, branch, grid)
            if i in indices:
                x, branch = x if branch is None else x + branch, None
                tokens[i] = x
        if self.ln1 is not None and len(self.layers) - 1 in indices:
            tokens[len(self.layers) - 1] = self.ln1(x)
        return tokens

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """The tokens of an image with their position embedding, and their grid."""
        check_images(x, self.patch_embed.stem[0])
        x, grid = self.patch_embed(x)
        position = resize_position_grid(self.pos_embed, self.position_grid, grid)
        return self.drop_after_pos(x + position), grid

    def fit_checkpoint(self, state: dict[str, Tensor]) -> None:
        fit_position_table(state, self.position_grid)

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        return [[self.patch_embed, self.pos_embed], *([layer] for layer in self.layers)]

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        blocks = ((f'layers.{i}.',) for i in range(len(self.layers)))
        return [('patch_embed.', 'pos_embed'), *blocks]

    @staticmethod
    def _stem_grid(img_size: int | Sequence[int], patch_size: int) -> Grid:
        sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        # Floor where the stem itself rounds up: the official rule, which differs for odd sizes
        # only.
        height, width = (-(-(side // 2) // (patch_size // 2)) for side in sides)
        return height, width


def evaluates(block: nn.Module) -> bool:
    """Whether ``evaluate`` of a block may stand for a call of it."""
    return (
        isinstance(block, PlainMambaBlock)
        and is_plain(block, PlainMambaBlock)
        and is_plain(block.norm, nn.LayerNorm)
    )

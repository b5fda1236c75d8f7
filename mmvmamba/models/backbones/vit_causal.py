"""A plain vision Transformer whose attention is fully visible or causal.

In this file N is the batch, (h, w) the grid of patches, L the length of the sequence of h * w
patches and the class token, C the width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvmamba.layers import (
    MLP,
    Attention,
    drop_path,
    drop_path_rates,
    fit_position_table,
    laid_out,
    resize_position_grid,
    tokens_to_map,
)
from mmvmamba.registry import MODELS

from .base import BaseBackbone, check_images, resolve_arch, resolve_out_indices

__all__ = ['VisionTransformerCausal']

NORM_EPS = 1e-6
CLASS_TOKENS = ('first', 'last', 'none')
OUT_TYPES = ('featmap', 'cls_token', 'avg_featmap', 'raw')


class PatchEmbed(nn.Module):
    """Cuts an image into patches: ``(N, in_channels, H, W)`` to ``(N, C, h, w)``."""

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Block(nn.Module):
    """The pre-norm Transformer block."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_rate: float,
        drop_path_rate: float,
        causal: bool,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads, qkv_bias, drop_rate=drop_rate, causal=causal)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = MLP(dim, int(dim * mlp_ratio), drop_rate)
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class VisionTransformerCausal(BaseBackbone):
    """DeiT with one switch: whether a token sees all tokens or only those before it.

    The pair of the experiment of Fig. 3b in `MambaOut <https://arxiv.org/abs/2405.07992>`_. Tokens
    are in raster order. The paper does not say where its class token stands: in causal mode the
    first token sees nothing but itself, so there it stands last. With ``class_token='first'`` the
    state dict is that of the released DeiT models.

    Args:
        arch: A row of ``arch_zoo`` or a dict with the same keys.
        in_channels: Channels of the image.
        img_size: Side (or height and width) that the position embedding is made for; it is resized
            for images of another size.
        patch_size: Side of a patch. What an image has beyond whole patches is left out.
        causal: Whether token t attends to the tokens up to t only.
        class_token: 'first', 'last' or 'none'; None for 'last' in causal mode, else for 'first'.
        mlp_ratio: Hidden channels of the MLPs per channel.
        qkv_bias: Whether the attention's projections have a bias.
        drop_rate: Dropout of the embedded tokens, after projections and in the MLPs.
        drop_path_rate: Stochastic depth of the last block; it grows evenly from 0.
        out_indices: Blocks whose outputs are returned.
        out_type: What is returned for each of them:

            - 'featmap': the patches as a map, ``(N, C, h, w)``.
            - 'cls_token': the class token, ``(N, C)``.
            - 'avg_featmap': the mean of the patches, ``(N, C)``.
            - 'raw': all tokens where they stand, ``(N, L, C)``.
        final_norm: Whether the last block's output is normalised.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and n blocks.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training; there are none.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'vit'
    head_only_keys = (r'cls_token$', r'norm\.')

    # Table 1 of https://arxiv.org/abs/2012.12877.
    arch_zoo = {
        'deit_tiny': dict(embed_dims=192, num_layers=12, num_heads=3),
        'deit_small': dict(embed_dims=384, num_layers=12, num_heads=6),
    }

    def __init__(
        self,
        arch: str | dict = 'deit_tiny',
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        causal: bool = False,
        class_token: str | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'featmap',
        final_norm: bool = True,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        settings = resolve_arch(arch, self.arch_zoo)
        self.embed_dims, num_layers = settings['embed_dims'], settings['num_layers']
        self.stage_channels = (self.embed_dims,) * num_layers
        self.out_indices = resolve_out_indices(out_indices, num_layers)
        self.class_token = class_token or ('last' if causal else 'first')
        self.out_type = out_type
        self._check_choices(causal)

        self.patch_size = patch_size
        self.grid = self._grid_of((img_size, img_size) if isinstance(img_size, int) else img_size)
        self.patch_embed = PatchEmbed(in_channels, self.embed_dims, patch_size)
        with_token = self.class_token != 'none'
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if with_token else None
        length = self.grid[0] * self.grid[1] + with_token
        self.pos_embed = nn.Parameter(torch.zeros(1, length, self.embed_dims))
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                settings['num_heads'],
                mlp_ratio,
                qkv_bias,
                drop_rate,
                rate,
                causal,
            )
            for rate in drop_path_rates(drop_path_rate, num_layers)
        )
        self.norm = nn.LayerNorm(self.embed_dims, eps=NORM_EPS) if final_norm else None

    def _check_choices(self, causal: bool) -> None:
        if self.class_token not in CLASS_TOKENS:
            raise ValueError(
                f'class_token must be one of {CLASS_TOKENS} or None, got {self.class_token!r}'
            )
        if self.out_type not in OUT_TYPES:
            raise ValueError(f'out_type must be one of {OUT_TYPES}, got {self.out_type!r}')
        if causal and self.class_token == 'first':
            raise ValueError(
                "class_token must be 'last' or 'none' with causal=True, got 'first', which would "
                'see no patch'
            )
        if self.out_type == 'cls_token' and self.class_token == 'none':
            raise ValueError("out_type must not be 'cls_token' with class_token='none'")

    def _grid_of(self, size: Sequence[int]) -> tuple[int, int]:
        if min(size) < self.patch_size:
            raise ValueError(
                f'an image must hold a patch of {self.patch_size} x {self.patch_size} pixels, '
                f'got {tuple(size)}'
            )
        return size[0] // self.patch_size, size[1] // self.patch_size

    def fit_checkpoint(self, state: dict[str, Tensor]) -> None:
        table = state.get('pos_embed')
        if table is None or table.shape[1] == self.pos_embed.shape[1]:
            return
        patches, token = self.split_tokens(table)
        tables = {'patches': patches}
        fit_position_table(tables, self.grid, 'patches')
        state['pos_embed'] = self._join(tables['patches'], token)

    def init_own_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        stem: list[nn.Module | nn.Parameter] = [self.patch_embed, self.pos_embed]
        if self.cls_token is not None:
            stem.append(self.cls_token)
        return [stem, *([block] for block in self.blocks)]

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        blocks = ((f'blocks.{i}.',) for i in range(len(self.blocks)))
        return [('patch_embed.', 'pos_embed', 'cls_token'), *blocks]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(N, in_channels, H, W)`` to what ``out_type`` says for each of ``out_indices``."""
        outputs, grid = self.block_tokens(x, self.out_indices)
        return laid_out(self._output(outputs[i], grid) for i in self.out_indices)

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """See ``BaseBackbone``; the vector is the class token, or the mean of all where none is."""
        last = len(self.blocks) - 1
        outputs, grid = self.block_tokens(images, (*indices, last))
        patches, token = self.split_tokens(outputs[last])
        pooled = patches.mean(dim=1) if token is None else token[:, 0]
        maps = (self.split_tokens(outputs[i])[0].transpose(1, 2) for i in indices)
        return pooled, [value.unflatten(2, grid) for value in maps]

    def block_tokens(
        self, x: Tensor, indices: Sequence[int]
    ) -> tuple[dict[int, Tensor], tuple[int, int]]:
        """The tokens after some blocks, the last of which is normed, and the patches' grid."""
        check_images(x, self.patch_embed.proj, self.patch_size)
        maps = self.patch_embed(x)
        grid = (maps.shape[2], maps.shape[3])
        patches = maps.flatten(2).transpose(1, 2)
        tokens = self._join(patches, self.cls_token)
        tokens = self.pos_drop(tokens + self._position_embedding(grid))
        outputs = {}
        for i, block in enumerate(self.blocks):
            tokens = self.run_block(block, tokens)
            if i == len(self.blocks) - 1 and self.norm is not None:
                tokens = self.norm(tokens)
            if i in indices:
                outputs[i] = tokens
        return outputs, grid

    def _join(self, patches: Tensor, token: Tensor | None) -> Tensor:
        """Puts the class token's entry where it stands."""
        if token is None:
            return patches
        token = token.expand(patches.shape[0], -1, -1).to(patches.dtype)
        return torch.cat(
            [token, patches] if self.class_token == 'first' else [patches, token], dim=1
        )

    def split_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """The patches, and the class token if there is one, of ``(N, L, C)``."""
        if self.class_token == 'none':
            return tokens, None
        if self.class_token == 'first':
            return tokens[:, 1:], tokens[:, :1]
        return tokens[:, :-1], tokens[:, -1:]

    def _position_embedding(self, grid: tuple[int, int]) -> Tensor:
        patches, token = self.split_tokens(self.pos_embed)
        return self._join(resize_position_grid(patches, self.grid, grid), token)

    def _output(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        patches, token = self.split_tokens(tokens)
        if self.out_type == 'featmap':
            return tokens_to_map(patches, grid)
        if self.out_type == 'cls_token':
            assert token is not None, 'see _check_choices'
            return token[:, 0]
        return patches.mean(dim=1) if self.out_type == 'avg_featmap' else tokens

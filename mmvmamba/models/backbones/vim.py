"""Vision Mamba (Vim): patches and a class token through identical bidirectional Mamba blocks.

Paper: https://arxiv.org/abs/2401.09417. In this file N is the batch, (h, w) the grid of patches, L
the length of the sequence of h * w patches and the class tokens, C the width of the network.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from mmvmamba.layers import (
    CLASS_TOKENS,
    RESIZE_RULES,
    class_token_places,
    drop_path,
    drop_path_rates,
    insert_tokens,
    laid_out,
    remove_tokens,
    resize_position_embedding,
    rotate_pairs,
    tokens_to_map,
)
from mmvmamba.layers.evaluation import add_and_norm, autocast_dtype, convolve_all, fuses, is_plain
from mmvmamba.ops.scan_order import reversed_order
from mmvmamba.ops.symbolic import at_least_float32
from mmvmamba.registry import MODELS

from .base import BaseBackbone, check_images, resolve_arch, resolve_out_indices
from .vim_mixer import BidirectionalMamba
from .vim_rope import GridRotation

__all__ = ['VimBlock', 'VisionMamba']

Grid = tuple[int, int]

CHOICES = dict(
    class_token=CLASS_TOKENS,
    out_type=('featmap', 'cls_token', 'avg_featmap', 'raw'),
    feature=('residual', 'hidden'),
    last_layer_process=('none', 'add', 'add & norm'),
    position_resize=RESIZE_RULES,
)
TOKEN_NAMES = {
    'middle': ('cls_token',),
    'head': ('cls_token',),
    'double': ('cls_token_head', 'cls_token_tail'),
    'none': (),
}


class StreamRMSNorm(nn.RMSNorm):
    """RMSNorm of the residual stream, computed in its precision and returned in another."""

    # The blocks call it with the precision that they go on in.
    def forward(self, stream: Tensor, dtype: torch.dtype) -> Tensor:  # type: ignore[override]
        weight = self.weight.to(stream.dtype)
        return F.rms_norm(stream, self.normalized_shape, weight, self.eps).to(dtype)


class StreamLayerNorm(nn.LayerNorm):
    """LayerNorm of the residual stream, computed in its precision and returned in another."""

    # As above.
    def forward(self, stream: Tensor, dtype: torch.dtype) -> Tensor:  # type: ignore[override]
        weight, bias = self.weight.to(stream.dtype), self.bias.to(stream.dtype)
        return F.layer_norm(stream, self.normalized_shape, weight, bias, self.eps).to(dtype)


STREAM_NORMS = (StreamRMSNorm, StreamLayerNorm)


class VimBlock(nn.Module):
    """Adds the last block's output to the residual stream, norms the stream and mixes it.

    The stream is kept in at least float32, the mixer's output in the precision of the network.

    Args:
        embed_dims: Width C.
        mixer: The mixer's settings, see ``BidirectionalMamba``.
        drop_path_rate: Probability of dropping what is added, the output of the block *before*.
        use_rms_norm: Whether the norm is an RMSNorm; otherwise it is a LayerNorm.
    """

    def __init__(
        self, embed_dims: int, mixer: dict, drop_path_rate: float = 0.0, use_rms_norm: bool = True
    ) -> None:
        super().__init__()
        self.mixer = BidirectionalMamba(embed_dims, **mixer)
        self.norm = (StreamRMSNorm if use_rms_norm else StreamLayerNorm)(embed_dims, eps=1e-5)
        self.drop_path = drop_path(drop_path_rate)

    def forward(
        self, hidden: Tensor, residual: Tensor | None, orders: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not self.training and fuses(hidden) and is_plain(self.norm, *STREAM_NORMS):
            stream, branch = (hidden.float(), None) if residual is None else (residual, hidden)
            dtype = autocast_dtype(hidden) or hidden.dtype
            residual, normed = add_and_norm(self.norm, stream, branch, dtype=dtype)
            return self.mixer(normed, orders), residual
        residual = add_to_stream(self.drop_path(hidden), residual)
        return self.mixer(self.norm(residual, hidden.dtype), orders), residual


@MODELS.register_module()
class VisionMamba(BaseBackbone):
    """Vision Mamba (Vim), `<https://arxiv.org/abs/2401.09417>`_.

    Args:
        arch: A row of ``arch_zoo``, or a dict with keys of its rows.
        in_channels: Channels of the image.
        img_size: Side (or height and width) that the position embedding is made for; an image of
            any other size is taken as well.
        patch_size: Side of a patch.
        stride: Distance of neighbouring patches; None for that of the arch, which for most is the
            side of a patch.
        out_indices: Blocks whose outputs are returned.
        out_type: What is returned for each of them:

            - 'featmap': the patches as a map, ``(N, C, h, w)``.
            - 'cls_token': the class token, ``(N, C)``; the mean of both if there are two.
            - 'avg_featmap': the mean of the patches, ``(N, C)``.
            - 'raw': all tokens where they stand, ``(N, L, C)``.
        class_token: 'middle', 'head', 'double' (both ends) or 'none'; None for that of the arch.
            A checkpoint with class tokens is loaded without them into a model that has none.
        feature: What is returned for blocks before the last: 'residual', the residual stream with
            the block's output, or 'hidden', the block's output alone.
        last_layer_process: What is returned for the last block: 'none', its output alone; 'add',
            the residual stream with it; 'add & norm', this with the final norm.
        mixer: Settings of the mixers, see ``BidirectionalMamba``.
        with_pos_embed: Whether a learned position embedding is added.
        use_rope: Whether hidden states and residual stream are turned by each patch's position
            before every block, as in the first releases; None for what the arch says.
        use_divide_out: Whether the two directions are averaged, not added; None for what the arch
            says.
        use_rms_norm: Whether norms are RMSNorms; otherwise they are LayerNorms.
        use_layer_pairs: Whether the blocks work in pairs, the second of a pair on the reversed
            sequence. Meant for mixers with ``scan='none'``.
        position_resize: How the position embedding is brought to another grid, at run time and when
            a checkpoint is loaded: 'token_aware', or 'upstream' for the official code's rule, which
            mistakes the first patch for the class token (see ``layers/position_embedding.py``).
        drop_rate: Dropout after the position embedding.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first.
        frozen_stages: -1 freezes nothing, 0 the stem, n > 0 the stem and the first n blocks.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training; Vim has none.
        with_cp: Whether blocks recompute their activations in the backward pass.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'vim'
    head_only_keys = (r'cls_token', r'norm_f\.')
    # The rule by which a file of another image size was brought to the one trained at.
    start_settings = ('init_cfg', 'position_resize')
    layers: Any  # a ModuleList, whose members torch gives no types

    # Released models of https://github.com/hustvl/Vim; tiny_legacy is the one of January 2024.
    arch_zoo = {
        'tiny': dict(embed_dims=192, num_layers=24),
        'tiny_plus': dict(embed_dims=192, num_layers=24, stride=8),
        'tiny_legacy': dict(
            embed_dims=192, num_layers=24, class_token='head', use_rope=True, use_divide_out=False
        ),
        'small': dict(embed_dims=384, num_layers=24),
        'small_plus': dict(embed_dims=384, num_layers=24, stride=8),
        'base': dict(embed_dims=768, num_layers=24),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        stride: int | None = None,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'featmap',
        class_token: str | None = None,
        feature: str = 'residual',
        last_layer_process: str = 'add & norm',
        mixer: dict | None = None,
        with_pos_embed: bool = True,
        use_rope: bool | None = None,
        use_divide_out: bool | None = None,
        use_rms_norm: bool = True,
        use_layer_pairs: bool = False,
        position_resize: str = 'token_aware',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        row: dict[str, Any] = dict(
            class_token='middle', use_rope=False, use_divide_out=True, stride=patch_size
        )
        row.update(resolve_arch(arch, self.arch_zoo))
        self.embed_dims, num_layers = row['embed_dims'], row['num_layers']
        self.in_channels, self.patch_size = in_channels, patch_size
        self.stride = stride or row['stride']
        self.arch_class_token = row['class_token']
        self.class_token = class_token or row['class_token']
        self.stage_channels = (self.embed_dims,) * num_layers
        self.out_indices = resolve_out_indices(out_indices, num_layers)
        self.out_type = out_type
        self.feature, self.last_layer_process = feature, last_layer_process
        self.position_resize = position_resize
        self.use_layer_pairs = use_layer_pairs
        self._check_choices(num_layers)

        self._build_embedding(img_size, with_pos_embed, drop_rate)
        self.rope = None
        if row['use_rope'] if use_rope is None else use_rope:
            if self.class_token == 'double':
                raise ValueError('use_rope goes with one class token or none, got two')
            self.rope = GridRotation(self.embed_dims, self.grid)
        use_divide_out = row['use_divide_out'] if use_divide_out is None else use_divide_out
        mixer = dict(use_divide_out=use_divide_out, **(mixer or {}))
        rates = drop_path_rates(drop_path_rate, num_layers)
        # A block drops the output of the one before it, at that one's rate; the first has none.
        self.layers = nn.ModuleList(
            VimBlock(self.embed_dims, mixer, rate, use_rms_norm) for rate in (0.0, *rates[:-1])
        )
        self.drop_path = drop_path(drop_path_rate)
        self.norm_f = None
        if last_layer_process == 'add & norm' and num_layers - 1 in self.out_indices:
            self.norm_f = type(self.layers[0].norm)(self.embed_dims, eps=1e-5)
        self._init_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs, grid = self.block_tokens(x, self.out_indices)
        return laid_out(self.format_output(outputs[i], grid) for i in self.out_indices)

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """See ``BaseBackbone``; the vector is the class token, or the mean of all where none is."""
        last = len(self.layers) - 1
        self._check_pairs(last + 1, indices)
        outputs, grid = self.block_tokens(images, (*indices, last))
        places = class_token_places(self.class_token, grid[0] * grid[1])
        pooled = outputs[last][:, list(places)] if places else outputs[last]
        patches = (remove_tokens(outputs[i], places).transpose(1, 2) for i in indices)
        return pooled.mean(dim=1), [maps.unflatten(2, grid) for maps in patches]

    def block_tokens(self, x: Tensor, indices: Sequence[int]) -> tuple[dict[int, Tensor], Grid]:
        """What some blocks return, ``(N, L, C)``, and the grid of the patches."""
        x, grid = self.embed(x)
        orders = reversed_order(x.shape[1], x.device)
        # The place 0 of a class token is not turned. One in the middle is turned like a patch and
        # place 0 is not: so does the official code.
        num_tokens = x.shape[1] - grid[0] * grid[1]
        angles = None if self.rope is None else self.rope(grid, num_skipped=num_tokens)
        if self.use_layer_pairs:
            return {len(self.layers) - 1: self.run_pairs(x, orders, angles)}, grid
        return self.run_layers(x, orders, angles, indices), grid

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """The tokens of an image with their position embedding, ``(N, L, C)``, and their grid."""
        check_images(x, self.patch_embed[0], self.patch_size)
        x = convolve_all(self.patch_embed, x)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2).contiguous()
        tokens = [getattr(self, name) for name in TOKEN_NAMES[self.class_token]]
        x = insert_tokens(x, tokens, class_token_places(self.class_token, x.shape[1]))
        if self.pos_embed is not None:
            x = x + resize_position_embedding(
                self.pos_embed, self.grid, grid, self.class_token, self.position_resize
            )
        return self.drop_after_pos(x), grid

    def run_layers(
        self,
        hidden: Tensor,
        orders: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        indices: Sequence[int],
    ) -> dict[int, Tensor]:
        """Runs the blocks one after the other; returns the tokens after some of them."""
        residual: Tensor | None = None
        outputs: dict[int, Tensor] = {}
        for i, layer in enumerate(self.layers):
            hidden, residual = turn(hidden, residual, angles)
            hidden, residual = self.run_block(layer, hidden, residual, orders)
            if self.feature == 'hidden' and i in indices:
                outputs[i] = hidden
            # The stream that a block returns holds the output of the block before, not its own.
            if self.feature == 'residual' and i - 1 in indices:
                outputs[i - 1] = residual.to(hidden.dtype)
        if len(self.layers) - 1 in indices:
            outputs[len(self.layers) - 1] = self.finish(hidden, residual)
        return outputs

    def run_pairs(
        self, hidden: Tensor, orders: Tensor, angles: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Runs the blocks in pairs, the second on the reversed sequence, and adds their results."""
        residual: Tensor | None = None
        for forward_layer, backward_layer in zip(self.layers[::2], self.layers[1::2], strict=True):
            hidden, residual = turn(hidden, residual, angles)
            flipped = hidden.flip(1), None if residual is None else residual.flip(1)
            hidden, residual = self.run_block(forward_layer, hidden, residual, orders)
            hidden_back, residual_back = self.run_block(backward_layer, *flipped, orders)
            hidden, residual = hidden + hidden_back.flip(1), residual + residual_back.flip(1)
        return self.finish(hidden, residual)

    def finish(self, hidden: Tensor, residual: Tensor | None) -> Tensor:
        """What is returned for the last block, see ``last_layer_process``."""
        if self.last_layer_process == 'none':
            return hidden
        if self.last_layer_process == 'add':
            return add_to_stream(hidden, residual).to(hidden.dtype)
        residual = add_to_stream(self.drop_path(hidden), residual)
        if self.norm_f is None:
            # The last block is none of those put out.
            return residual.to(hidden.dtype)
        return self.norm_f(residual, hidden.dtype)

    def format_output(self, x: Tensor, grid: Grid) -> Tensor:
        """Brings tokens, ``(N, L, C)``, to the form that ``out_type`` asks for."""
        places = class_token_places(self.class_token, grid[0] * grid[1])
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return torch.stack([x[:, place] for place in places]).mean(0)
        patches = remove_tokens(x, places)
        if self.out_type == 'avg_featmap':
            return patches.mean(1)
        return tokens_to_map(patches, grid)

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        tokens = [getattr(self, name) for name in TOKEN_NAMES[self.class_token]]
        positions = [] if self.pos_embed is None else [self.pos_embed]
        return [[self.patch_embed, *tokens, *positions], *([layer] for layer in self.layers)]

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        blocks = ((f'layers.{i}.',) for i in range(len(self.layers)))
        return [('patch_embed.', 'pos_embed', 'cls_token'), *blocks]

    def _check_choices(self, num_layers: int) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f'{name} must be one of {list(allowed)}, got {value!r}')
        if self.out_type == 'cls_token' and self.class_token == 'none':
            raise ValueError("out_type 'cls_token' needs a class token, got class_token 'none'")
        self._check_pairs(num_layers, self.out_indices)

    def _check_pairs(self, num_layers: int, indices: Sequence[int]) -> None:
        if self.use_layer_pairs and (num_layers % 2 or tuple(indices) != (num_layers - 1,)):
            raise ValueError(
                'use_layer_pairs needs an even number of blocks and the last one alone in '
                f'out_indices, got {num_layers} blocks and {tuple(indices)}'
            )

    def _build_embedding(
        self, img_size: int | Sequence[int], with_pos_embed: bool, drop_rate: float
    ) -> None:
        sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        if min(sides) < self.patch_size:
            raise ValueError(f'img_size must be {self.patch_size} or more, got {img_size}')
        # Pixels that do not fill a patch are dropped, as in the official code.
        height, width = ((side - self.patch_size) // self.stride + 1 for side in sides)
        self.grid: Grid = (height, width)
        projection = nn.Conv2d(self.in_channels, self.embed_dims, self.patch_size, self.stride)
        self.patch_embed = nn.Sequential(OrderedDict(proj=projection))
        names = TOKEN_NAMES[self.class_token]
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.zeros(1, 1, self.embed_dims)))
        length = self.grid[0] * self.grid[1] + len(names)
        self.pos_embed = None
        if with_pos_embed:
            self.pos_embed = nn.Parameter(torch.zeros(1, length, self.embed_dims))
        self.drop_after_pos = nn.Dropout(drop_rate)

    @torch.no_grad()
    def _init_parameters(self) -> None:
        projection = self.patch_embed[0]
        assert isinstance(projection, nn.Conv2d)
        # LeCun's variance, corrected for a truncation that the official code asks for and then,
        # by its version of timm, does not get.
        fan_in = projection.weight[0].numel()
        nn.init.normal_(projection.weight, std=math.sqrt(1 / fan_in) / 0.87962566103423978)
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)
        for name in ('pos_embed', *TOKEN_NAMES[self.class_token]):
            if getattr(self, name) is not None:
                nn.init.trunc_normal_(getattr(self, name), std=0.02)
        for layer in self.layers:
            layer.mixer.out_proj.weight.div_(math.sqrt(len(self.layers)))

    @torch.no_grad()
    def fit_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Changes, and logs, what a checkpoint has of another image size or for another task."""
        source = self._class_token_of(state)
        names = TOKEN_NAMES[source]
        table = state.get('pos_embed')
        if source != 'none' and self.class_token == 'none':
            for name in names:
                del state[name]
            if table is not None:
                places = tuple(range(len(names)))
                if self.position_resize == 'token_aware':
                    places = class_token_places(source, table.shape[1] - len(names))
                table = remove_tokens(table, places)
            print_log(f'Vim: dropped {names}, which this model does not have', 'current')
            names = ()
        # A table without entries for the tokens stays as it is: loading will report its shape.
        is_alike = len(names) == len(TOKEN_NAMES[self.class_token])
        if table is not None and self.pos_embed is not None and is_alike:
            state['pos_embed'] = self._fit_position_table(table, table.shape[1] - len(names))
        if self.norm_f is None:
            for name in [name for name in state if name.startswith('norm_f.')]:
                del state[name]
                print_log(f'Vim: dropped {name}, which this model does not use', 'current')
        for name, own in [] if self.rope is None else self.rope.named_buffers(prefix='rope'):
            # The tables are computed, not learnt; official files have those of their image size.
            if name not in state or state[name].shape != own.shape:
                state[name] = own
                print_log(f'Vim: computed {name} for a grid of {self.grid}', 'current')

    def _class_token_of(self, state: dict[str, Tensor]) -> str:
        """Where the class token of a checkpoint stands."""
        if 'cls_token_head' in state:
            return 'double'
        if 'cls_token' not in state:
            return 'none'
        if self.class_token in ('middle', 'head'):
            return self.class_token
        # The first releases, which have rope, put it at the head; all others in the middle.
        is_head = 'rope.freqs_cos' in state or self.arch_class_token == 'head'
        return 'head' if is_head else 'middle'

    def _fit_position_table(self, table: Tensor, num_patches: int) -> Tensor:
        side = math.isqrt(num_patches)
        if num_patches == self.grid[0] * self.grid[1] or num_patches != side**2:
            # Nothing to do, or a grid that cannot be guessed: loading will report its shape.
            return table
        print_log(
            f'Vim: resized pos_embed from a grid of {(side, side)} to {self.grid} by the rule '
            f'{self.position_resize!r}',
            'current',
        )
        return resize_position_embedding(
            table, (side, side), self.grid, self.class_token, self.position_resize
        )


def add_to_stream(hidden: Tensor, residual: Tensor | None) -> Tensor:
    """The residual stream with ``hidden`` added, in at least float32."""
    hidden = at_least_float32(hidden)
    return hidden if residual is None else residual + hidden


def turn(
    hidden: Tensor, residual: Tensor | None, angles: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor | None]:
    """Turns by each patch's position what a block is to take; without angles it stays as it is."""
    if angles is None:
        return hidden, residual
    turned = None if residual is None else rotate_pairs(residual, *angles)
    return rotate_pairs(hidden, *angles), turned

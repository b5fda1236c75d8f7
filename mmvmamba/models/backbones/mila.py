"""MILA: blocks built as Mamba's, around linear attention in place of the state space.

Paper: https://arxiv.org/abs/2405.16605, where the first version and the code say MLLA. Maps are
(N, H, W, C) throughout; L = H * W tokens, h heads of d = C / h channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import (
    MLP,
    ExpandedDownsample,
    ResidualConvStem,
    add_convolved,
    conv_channels_last,
    drop_path,
    drop_path_rates,
    pad_to_multiple,
    rotate_pairs,
)
from mmvmamba.layers.evaluation import linear, linear_halves
from mmvmamba.ops.symbolic import at_least_float32
from mmvmamba.ops.tables import cached_table
from mmvmamba.registry import MODELS

from .base import resolve_arch
from .pyramid import NORM_EPS, NUM_STAGES, PyramidBackbone, PyramidStage

__all__ = ['MILA']

ROTATION_BASE = 10000
# Images are padded with zeros at the bottom and right to multiples of this.
PATCH_SIZE = 4
# How far a stored table may be from its formula: averages of weights drift by up to 2e-4.
ROTATION_DRIFT = 1e-3


@cached_table(maxsize=64)
def grid_rotation(
    height: int, width: int, channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for the tokens of a grid, both ``(height * width, channels)`` in float64.

    The pairs of the first half of the channels turn with the row, the others with the column.
    """
    quarter = channels // 4
    exponents = torch.arange(quarter, dtype=torch.float64, device=device) / quarter
    frequencies = ROTATION_BASE**-exponents
    rows, columns = (
        torch.arange(side, dtype=torch.float64, device=device)[:, None] * frequencies
        for side in (height, width)
    )
    angles = torch.cat(
        [
            rows[:, None].expand(-1, width, -1),
            columns[None].expand(height, -1, -1),
        ],
        dim=-1,
    )
    angles = angles.flatten(0, 1).repeat_interleave(2, dim=-1)
    return angles.cos(), angles.sin()


class LinearAttention(nn.Module):
    """Attention without a softmax, in time linear in the number of tokens.

    Queries and keys are turned by the places of their tokens, but not where the result is
    normalised. The value is the input itself; a depth-wise convolution of it is added.

    Args:
        dim: Channels, a multiple of 4 and of the heads.
        num_heads: Heads h.
        qkv_bias: Whether the projection to queries and keys has a bias.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % 4 or dim % num_heads:
            raise ValueError(f'dim must be a multiple of 4 and of num_heads {num_heads}, got {dim}')
        self.num_heads = num_heads
        self.halved_layers = ('qk',)
        self.qk = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.lepe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        v = x.flatten(1, 2)
        q, k = linear_halves(self.qk, v)  # (N, L, C)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        y = self.attend(q, k, v, (x.shape[1], x.shape[2])).unflatten(1, x.shape[1:3])
        return y + conv_channels_last(self.lepe, x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]) -> Tensor:
        cos, sin = grid_rotation(*grid, q.shape[-1], q.device)
        turned_q, turned_k = (
            # Rotations lose their places in half precision.
            self.heads(rotate_pairs(part, cos.to(part.dtype), sin.to(part.dtype)).to(v.dtype))
            for part in (at_least_float32(q), at_least_float32(k))
        )
        v = self.heads(v)  # (N, h, L, d)
        # A product with a single vector, which torch.compile (2.11) writes past its end, as a sum.
        norm = (q * k.mean(dim=1, keepdim=True)).unflatten(-1, (self.num_heads, -1)).sum(-1) + 1e-6
        # 1 / L in two factors keeps sums within the range of half precision.
        scale = q.shape[-2] ** -0.5
        memory = (turned_k.transpose(-2, -1) * scale) @ (v * scale)  # (N, h, d, d)
        y = (turned_q @ memory).transpose(1, 2)  # (N, L, h, d)
        return (y / norm[..., None]).flatten(2)

    def heads(self, x: Tensor) -> Tensor:
        """(N, L, C) to (N, h, L, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MILABlock(nn.Module):
    """Gated linear attention and an MLP around residual connections, a residual convolution before
    each.

    Args:
        dim: Channels.
        num_heads: Heads of the attention.
        qkv_bias: See ``LinearAttention``.
        mlp_ratio: Ratio of the MLP's hidden width to the channels.
        drop_path_rate: Probability of dropping the attention's or the MLP's branch.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual_convs = ('cpe1', 'cpe2')
        self.cpe1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.in_proj = nn.Linear(dim, dim)
        self.act_proj = nn.Linear(dim, dim)
        self.dwc = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.attn = LinearAttention(dim, num_heads, qkv_bias)
        self.out_proj = nn.Linear(dim, dim)
        self.cpe2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = MLP(dim, int(mlp_ratio * dim))
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = add_convolved(self.cpe1, x)
        x = x + self.drop_path(self.mix(self.norm1(x)))
        x = add_convolved(self.cpe2, x)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def mix(self, x: Tensor) -> Tensor:
        """Mamba's block, with attention where the scan is."""
        gate = linear(self.act_proj, x, 'silu')
        value = conv_channels_last(self.dwc, linear(self.in_proj, x), 'silu')
        return linear(self.out_proj, self.attn(value) * gate)


class PatchMerging(ExpandedDownsample):
    """Halves a map; odd sides are first padded with zeros at the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_to_multiple(x, 2, 2, channels_last=True))


@MODELS.register_module()
class MILA(PyramidBackbone):
    """MILA, also called MLLA.

    Paper: `Demystify Mamba in Vision: A Linear Attention Perspective
    <https://arxiv.org/abs/2405.16605>`_.

    Strides are 4, 8, 16 and 32, rounded up; any image size goes. The rotations are those of the
    size at hand: the tables in files are looked at and left out.

    Args:
        arch: A row of ``arch_zoo`` or a dict with the same keys.
        in_channels: Channels of the image.
        qkv_bias: Whether the projections to queries and keys have a bias.
        drop_path_rate: Stochastic depth of the last block; it grows evenly from 0. Published: 0.2
            for tiny, 0.3 for small, 0.5 for base.
        out_indices: Stages whose maps are put out.
        out_norm: 'LN2d' normalises each output (``outnorm{i}``); None does not.
        final_norm: Whether the last stage's map goes through the classifier's norm (``norm``).
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and n stages.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'mila'

    # The release's configs.
    # fmt: off
    arch_zoo = {
        'tiny': dict(dims=(64, 128, 256, 512), depths=(2, 4, 8, 4), num_heads=(2, 4, 8, 16)),
        'small': dict(dims=(64, 128, 256, 512), depths=(3, 6, 21, 6), num_heads=(2, 4, 8, 16)),
        'base': dict(dims=(96, 192, 384, 768), depths=(3, 6, 21, 6), num_heads=(3, 6, 12, 24)),
    }
    # fmt: on

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: str | None = None,
        final_norm: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        settings = resolve_arch(arch, self.arch_zoo, optional=('mlp_ratio',))
        dims, depths = settings['dims'], settings['depths']
        super().__init__(dims, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        mlp_ratio = settings.get('mlp_ratio', 4.0)
        self.patch_embed = ResidualConvStem(in_channels, dims[0])
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList(
            PyramidStage(
                [MILABlock(dim, heads, qkv_bias, mlp_ratio, next(rates)) for _ in range(depth)],
                nn.Identity() if i == NUM_STAGES - 1 else PatchMerging(dim, dims[i + 1]),
            )
            for i, (dim, depth, heads) in enumerate(
                zip(dims, depths, settings['num_heads'], strict=True)
            )
        )
        self.build_norms(out_norm, final_norm)

    def embed(self, images: Tensor) -> Tensor:
        """The map of the stem, of an image padded to whole patches."""
        return super().embed(pad_to_multiple(images, PATCH_SIZE, PATCH_SIZE))

    def fit_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Leaves out the tables of rotations, which are those of one image size."""
        for name in [name for name in state if name.endswith('.rope.rotations')]:
            check_rotations(name, state.pop(name))


def check_rotations(name: str, table: Tensor) -> None:
    """Refuses a stored table, ``(H, W, C / 2, 2)``, that is not the one of its formula.

    Raises:
        ValueError: It has another shape or other values.
    """
    if table.dim() == 4 and table.shape[-1] == 2 and table.shape[2] % 2 == 0:
        height, width, pairs, _ = table.shape
        expected = torch.stack(
            [
                part[:, ::2].reshape(height, width, pairs)
                for part in grid_rotation(height, width, 2 * pairs, torch.device('cpu'))
            ],
            dim=-1,
        )
        if (table.cpu().double() - expected).abs().max() <= ROTATION_DRIFT:
            return
    raise ValueError(
        f'{name} must hold the cosines and sines of its grid, (H, W, C / 2, 2), got another table '
        f'of shape {tuple(table.shape)}'
    )

"""VMamba: a pyramid of blocks that scan the map along its rows and columns, both ways.

Paper: https://arxiv.org/abs/2401.10166. Maps are (N, H, W, C) throughout; L = H * W tokens, E is
the width inside a mixer, S the size of the state, R the rank of the step sizes, K = 4 the
directions.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Permute

from mmvmamba.layers import (
    MLP,
    conv_channels_last,
    drop_path,
    drop_path_rates,
    init_dt_proj_,
    initial_A_log,
    pad_to_multiple,
    resolve_dt_rank,
    state_matrix,
)
from mmvmamba.layers.evaluation import (
    add_and_norm,
    cast_once,
    fuses,
    is_plain,
    kept_of_weights,
    linear,
)
from mmvmamba.ops.scan_order import cross_orders
from mmvmamba.ops.selective_scan import selective_scan
from mmvmamba.registry import MODELS

from .base import resolve_arch
from .pyramid import NORM_EPS, NUM_STAGES, PyramidBackbone, PyramidStage

__all__ = ['VMamba']

NUM_DIRECTIONS = 4
CHANNELS_FIRST, CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def conv_stem(in_channels: int, dim: int) -> nn.Sequential:
    """Two 3 x 3 convolutions of stride 2; their positions in the sequence are official keys."""
    return nn.Sequential(
        nn.Conv2d(in_channels, dim // 2, 3, stride=2, padding=1),
        Permute(CHANNELS_LAST),
        nn.LayerNorm(dim // 2, eps=NORM_EPS),
        Permute(CHANNELS_FIRST),
        nn.GELU(),
        nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        Permute(CHANNELS_LAST),
        nn.LayerNorm(dim, eps=NORM_EPS),
    )


def patch_stem(in_channels: int, dim: int) -> nn.Sequential:
    """Patches of 4 x 4 pixels; pixels that do not fill one are dropped."""
    return nn.Sequential(
        nn.Conv2d(in_channels, dim, 4, stride=4),
        Permute(CHANNELS_LAST),
        nn.LayerNorm(dim, eps=NORM_EPS),
    )


def conv_downsample(in_dim: int, dim: int) -> nn.Sequential:
    """A 3 x 3 convolution of stride 2."""
    return nn.Sequential(
        Permute(CHANNELS_FIRST),
        nn.Conv2d(in_dim, dim, 3, stride=2, padding=1),
        Permute(CHANNELS_LAST),
        nn.LayerNorm(dim, eps=NORM_EPS),
    )


class PatchMerging(nn.Module):
    """Each 2 x 2 tokens become one; odd sides are padded with zeros at the bottom and right."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * in_dim, eps=NORM_EPS)
        self.reduction = nn.Linear(4 * in_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_to_multiple(x, 2, 2, channels_last=True)
        # Column by column: the order that the weights were trained with.
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class CrossScanMixer(nn.Module):
    """A selective scan along rows and columns, forward and backward, whose results are summed.

    Every direction has its own parameters and reads the same map, each token at its own place.

    Args:
        dim: Channels.
        ssm_ratio: Ratio of the inner width E to the channels.
        d_state: Size S of the state.
        with_gate: Whether a gate multiplies the result.
        with_conv_bias: Whether the depth-wise convolution has a bias.
    """

    def __init__(
        self,
        dim: int,
        ssm_ratio: float = 2.0,
        d_state: int = 1,
        with_gate: bool = False,
        with_conv_bias: bool = False,
    ) -> None:
        super().__init__()
        inner = int(ssm_ratio * dim)
        self.with_gate = with_gate
        rank = resolve_dt_rank('auto', dim)
        self.split = [rank, d_state, d_state]
        self.in_proj = nn.Linear(dim, 2 * inner if with_gate else inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=with_conv_bias)
        self.x_proj_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, sum(self.split), inner))
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)
        dt_projs = [nn.Linear(rank, inner) for _ in range(NUM_DIRECTIONS)]
        for dt_proj in dt_projs:
            init_dt_proj_(dt_proj)
        self.dt_projs_weight = nn.Parameter(torch.stack([proj.weight for proj in dt_projs]))
        self.dt_projs_bias = nn.Parameter(torch.stack([proj.bias for proj in dt_projs]))
        # Row k * E + e belongs to channel e of direction k.
        self.A_logs = nn.Parameter(initial_A_log(NUM_DIRECTIONS * inner, d_state))
        self.Ds = nn.Parameter(torch.ones(NUM_DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner, eps=NORM_EPS)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = linear(self.in_proj, x)
        if self.with_gate:
            x, z = x.chunk(2, dim=-1)
        u = conv_channels_last(self.conv2d, x, 'silu')
        y = self.out_norm(self.scan(u.flatten(1, 2), u.shape[1:3])).view(u.shape)
        if self.with_gate:
            y = y * F.silu(z)
        return linear(self.out_proj, y)

    def scan(self, u: Tensor, grid: Sequence[int]) -> Tensor:
        """Scans ``(N, L, E)``; all projections of the four directions are two products."""
        weights = (self.x_proj_weight, self.dt_projs_weight)
        x_proj, dt_projs = cast_once(self, u, *weights)
        A = kept_of_weights(self, 'A', state_matrix, self.A_logs)
        parameters = F.linear(u, x_proj.flatten(0, 1))
        parameters = parameters.unflatten(-1, (NUM_DIRECTIONS, -1)).transpose(1, 2)
        dt, B, C = parameters.split(self.split, dim=-1)  # (N, K, L, R), (N, K, L, S) twice
        return selective_scan(
            u,
            torch.einsum('nklr,ker->nkle', dt, dt_projs),
            A.unflatten(0, (NUM_DIRECTIONS, -1)),
            B,
            C,
            self.Ds.unflatten(0, (NUM_DIRECTIONS, -1)),
            delta_bias=self.dt_projs_bias,
            delta_softplus=True,
            channels_last=True,
            orders=cross_orders(grid[0], grid[1], u.device),
        )


class VMambaBlock(nn.Module):
    """Norm and mixer, norm and MLP, each around a residual connection; the first release had no
    MLP.

    Args:
        dim: Channels.
        mixer: Arguments of ``CrossScanMixer``.
        mlp_ratio: Ratio of the MLP's hidden width to the channels; 0 for no MLP.
        drop_path_rate: Probability of dropping a residual branch.
    """

    def __init__(
        self, dim: int, mixer: dict, mlp_ratio: float = 4.0, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.op = CrossScanMixer(dim, **mixer)
        self.drop_path = drop_path(drop_path_rate)
        self.mlp = None
        if mlp_ratio > 0:
            self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
            self.mlp = MLP(dim, int(mlp_ratio * dim))

    def forward(self, x: Tensor) -> Tensor:
        norms = [self.norm] if self.mlp is None else [self.norm, self.norm2]
        if not self.training and fuses(x) and all(is_plain(norm, nn.LayerNorm) for norm in norms):
            branch = self.op(add_and_norm(self.norm, x)[1])
            if self.mlp is None:
                return x + branch
            x, normed = add_and_norm(self.norm2, x, branch)
            return x + self.mlp(normed)
        x = x + self.drop_path(self.op(self.norm(x)))
        if self.mlp is not None:
            x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


@MODELS.register_module()
class VMamba(PyramidBackbone):
    """VMamba.

    Paper: `VMamba: Visual State Space Model <https://arxiv.org/abs/2401.10166>`_.

    Strides are 4, 8, 16 and 32, rounded up (down in the stem of the ``vanilla`` rows); any image
    size goes.

    Args:
        arch: A row of ``arch_zoo`` or a dict with the same keys.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows evenly from 0. Published: 0.2
            for tiny, 0.3 for small, 0.6 for base (0.5 for base_s1l20).
        out_indices: Stages whose maps are put out.
        out_norm: 'LN2d' normalises each output (``outnorm{i}``); None does not.
        final_norm: Whether the last stage's map goes through the classifier's norm (``norm``).
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and n stages.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training; there are none.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'vmamba'

    # The release's tables. The vanilla rows are the first version of the paper: gated, with 16
    # states, without MLPs, and with patches in place of strided convolutions.
    # fmt: off
    VANILLA = dict(ssm_ratio=2.0, d_state=16, with_gate=True, with_conv_bias=True, mlp_ratio=0.0,
                   with_patches=True)
    arch_zoo = {
        'tiny_s1l8': dict(dims=(96, 192, 384, 768), depths=(2, 2, 8, 2), ssm_ratio=1.0),
        'tiny_s2l5': dict(dims=(96, 192, 384, 768), depths=(2, 2, 5, 2), ssm_ratio=2.0),
        'small_s1l20': dict(dims=(96, 192, 384, 768), depths=(2, 2, 20, 2), ssm_ratio=1.0),
        'small_s2l15': dict(dims=(96, 192, 384, 768), depths=(2, 2, 15, 2), ssm_ratio=2.0),
        'base_s1l20': dict(dims=(128, 256, 512, 1024), depths=(2, 2, 20, 2), ssm_ratio=1.0),
        'base_s2l15': dict(dims=(128, 256, 512, 1024), depths=(2, 2, 15, 2), ssm_ratio=2.0),
        'vanilla_tiny': dict(dims=(96, 192, 384, 768), depths=(2, 2, 9, 2), **VANILLA),
        'vanilla_small': dict(dims=(96, 192, 384, 768), depths=(2, 2, 27, 2), **VANILLA),
        'vanilla_base': dict(dims=(128, 256, 512, 1024), depths=(2, 2, 27, 2), **VANILLA),
    }
    # fmt: on

    def __init__(
        self,
        arch: str | dict = 'tiny_s1l8',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: str | None = None,
        final_norm: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        settings = resolve_arch(arch, self.arch_zoo)
        dims, depths = settings.pop('dims'), settings.pop('depths')
        super().__init__(dims, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        with_patches = settings.pop('with_patches', False)
        stem: Callable[[int, int], nn.Module] = conv_stem
        downsample: Callable[[int, int], nn.Module] = conv_downsample
        if with_patches:
            stem, downsample = patch_stem, PatchMerging
        self.patch_embed = stem(in_channels, dims[0])
        mlp_ratio = settings.pop('mlp_ratio', 4.0)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList(
            PyramidStage(
                [VMambaBlock(dim, settings, mlp_ratio, next(rates)) for _ in range(depth)],
                nn.Identity() if i == NUM_STAGES - 1 else downsample(dim, dims[i + 1]),
            )
            for i, (dim, depth) in enumerate(zip(dims, depths, strict=True))
        )
        self.build_norms(out_norm, final_norm)

    def fit_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Takes the 1 x 1 convolutions that some files have in place of linear layers."""
        for name, module in self.named_modules():
            weight = state.get(f'{name}.weight')
            if isinstance(module, nn.Linear) and weight is not None and weight.dim() == 4:
                state[f'{name}.weight'] = weight.flatten(1)

"""Spatial-Mamba: one raster scan, after which every state looks at the states around it.

Paper: https://arxiv.org/abs/2410.15091. Maps are (N, H, W, C) throughout; L = H * W tokens, E is
the width inside a mixer, R the rank of the step sizes. The state has size 1.
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
    init_dt_proj_,
    initial_A_log,
    resolve_dt_rank,
    state_matrix,
)
from mmvmamba.layers.evaluation import kept_of_weights
from mmvmamba.layers.packed import PackedConv2d, PackedLinear, linear_of
from mmvmamba.ops.selective_scan import selective_scan
from mmvmamba.ops.state_fusion import state_fusion
from mmvmamba.ops.state_readout import merged_taps, read_out
from mmvmamba.ops.symbolic import at_least_float32
from mmvmamba.registry import MODELS

from .base import resolve_arch
from .pyramid import NORM_EPS, NUM_STAGES, PyramidBackbone, PyramidStage

__all__ = ['SpatialMamba']

EXPAND = 2


class StateFusion(nn.Module):
    """The kernels of the fusion, see ``mmvmamba.ops.state_fusion``; a fresh one sums all taps."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.kernel_3 = nn.Parameter(torch.ones(dim, 1, 3, 3))
        self.kernel_3_1 = nn.Parameter(torch.ones(dim, 1, 3, 3))
        self.kernel_3_2 = nn.Parameter(torch.ones(dim, 1, 3, 3))
        self.alpha = nn.Parameter(torch.ones(3))

    def forward(self, h: Tensor) -> Tensor:
        return state_fusion(h, (self.kernel_3, self.kernel_3_1, self.kernel_3_2), self.alpha)


class StructureAwareMixer(nn.Module):
    """A gated selective scan in raster order; its states are fused before they are read out."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner, rank = EXPAND * dim, resolve_dt_rank('auto', dim)
        self.split = [rank, 1, 1]
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.x_proj_weight = nn.Parameter(torch.empty(sum(self.split), inner))
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)
        dt_proj = nn.Linear(rank, inner)
        init_dt_proj_(dt_proj)
        self.dt_projs_weight, self.dt_projs_bias = dt_proj.weight, dt_proj.bias
        self.A_logs = nn.Parameter(initial_A_log(inner, 1))
        self.Ds = nn.Parameter(torch.ones(inner))
        self.state_fusion = StateFusion(inner)
        self.out_norm = nn.LayerNorm(inner, eps=NORM_EPS)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=-1)
        u = conv_channels_last(self.conv2d, x, 'silu')
        # The gate comes after the norm, and the skip after the fusion: neither is the scan's.
        # The scan puts out float32 even where the weights are half precision.
        y = self.out_norm(self.scan(u).to(self.out_norm.weight.dtype))
        return self.out_proj(y * F.silu(z))

    def packed_form(self, dtype: torch.dtype) -> nn.Module:
        """The same for inference on a CPU."""
        return PackedStructureAwareMixer(self, dtype)

    def scan(self, u: Tensor) -> Tensor:
        """Scans and fuses ``(N, H, W, E)``, with states in at least float32."""
        tokens = u.flatten(1, 2)
        dt, B, C = F.linear(tokens, self.x_proj_weight).split(self.split, dim=-1)
        # A state of size 1 that is read out by ones is put out as it is.
        states = selective_scan(
            at_least_float32(tokens),
            F.linear(dt, self.dt_projs_weight),
            kept_of_weights(self, 'A', state_matrix, self.A_logs),
            B,
            B.new_ones(()).expand_as(B),
            delta_bias=self.dt_projs_bias,
            delta_softplus=True,
            channels_last=True,
        )
        states = states.view(u.shape).permute(0, 3, 1, 2)
        fused = self.state_fusion(states).permute(0, 2, 3, 1)
        return fused * C.unflatten(1, u.shape[1:3]) + u * self.Ds


class PackedStructureAwareMixer(nn.Module):
    """A mixer in which the states are fused, read out, normed and gated in one pass."""

    def __init__(self, mixer: StructureAwareMixer, dtype: torch.dtype) -> None:
        super().__init__()
        self.split = mixer.split
        value, gate = mixer.in_proj.weight.chunk(2)
        self.value = PackedLinear(linear_of(value), dtype)
        self.gate = PackedLinear(linear_of(gate), dtype, 'silu')
        self.conv2d = PackedConv2d(mixer.conv2d, dtype)
        self.x_proj = PackedLinear(linear_of(mixer.x_proj_weight), dtype)
        self.dt_proj = PackedLinear(linear_of(mixer.dt_projs_weight), dtype)
        self.dt_bias, self.D = mixer.dt_projs_bias, mixer.Ds
        self.A = state_matrix(mixer.A_logs)
        fusion = mixer.state_fusion
        kernels = (fusion.kernel_3, fusion.kernel_3_1, fusion.kernel_3_2)
        self.taps = merged_taps(kernels, fusion.alpha)
        self.out_norm = mixer.out_norm
        self.out_proj = PackedLinear(mixer.out_proj, dtype)

    def forward(self, x: Tensor) -> Tensor:
        u = conv_channels_last(self.conv2d, self.value(x), 'silu')
        tokens = u.flatten(1, 2)
        dt, B, C = self.x_proj(tokens).split(self.split, dim=-1)
        states = selective_scan(
            *(tokens, self.dt_proj(dt), self.A, B, B.new_ones(()).expand_as(B)),
            delta_bias=self.dt_bias,
            delta_softplus=True,
            channels_last=True,
        )
        norm = self.out_norm
        y = read_out(
            *(states.view(u.shape), self.taps, C.reshape(u.shape[:3]), u, self.D),
            *(norm.weight, norm.bias, norm.eps, self.gate(x)),
        )
        return self.out_proj(y)


class SpatialMambaBlock(nn.Module):
    """Mixer and MLP around residual connections, a residual convolution before each.

    Args:
        dim: Channels.
        mlp_ratio: Ratio of the MLP's hidden width to the channels.
        drop_path_rate: Probability of dropping the mixer's or the MLP's branch.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.residual_convs = ('cpe1', 'cpe2')
        self.cpe1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.ln_1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.self_attention = StructureAwareMixer(dim)
        self.cpe2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.ln_2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = MLP(dim, int(mlp_ratio * dim))
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = add_convolved(self.cpe1, x)
        x = x + self.drop_path(self.self_attention(self.ln_1(x)))
        x = add_convolved(self.cpe2, x)
        return x + self.drop_path(self.mlp(self.ln_2(x)))


@MODELS.register_module()
class SpatialMamba(PyramidBackbone):
    """Spatial-Mamba.

    Paper: `Spatial-Mamba: Effective Visual State Space Models via Structure-Aware State Fusion
    <https://arxiv.org/abs/2410.15091>`_.

    Strides are 4, 8, 16 and 32, rounded up; any image size goes.

    Args:
        arch: A row of ``arch_zoo`` or a dict with the same keys.
        in_channels: Channels of the image.
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

    family = 'spatial_mamba'

    # The release's configs.
    arch_zoo = {
        'tiny': dict(dims=(64, 128, 256, 512), depths=(2, 4, 8, 4)),
        'small': dict(dims=(64, 128, 256, 512), depths=(2, 4, 21, 5)),
        'base': dict(dims=(96, 192, 384, 768), depths=(2, 4, 21, 5)),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
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
        settings = resolve_arch(arch, self.arch_zoo, optional=('mlp_ratio',))
        dims, depths = settings['dims'], settings['depths']
        super().__init__(dims, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        mlp_ratio = settings.get('mlp_ratio', 4.0)
        self.patch_embed = ResidualConvStem(in_channels, dims[0])
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList(
            PyramidStage(
                [SpatialMambaBlock(dim, mlp_ratio, next(rates)) for _ in range(depth)],
                nn.Identity() if i == NUM_STAGES - 1 else ExpandedDownsample(dim, dims[i + 1]),
            )
            for i, (dim, depth) in enumerate(zip(dims, depths, strict=True))
        )
        self.build_norms(out_norm, final_norm)

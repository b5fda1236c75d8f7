"""MambaOut: gated convolution blocks, which are Mamba blocks without their state space.

Maps are (N, H, W, C) throughout; convolutions see the same memory as channels-last NCHW.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import conv_channels_last, drop_path, drop_path_rates, laid_out
from mmvmamba.layers.evaluation import add_and_norm, fuses, is_plain, linear
from mmvmamba.layers.packed import PackedConv2d, PackedLinear, linear_of
from mmvmamba.ops.fused import gate_channels
from mmvmamba.ops.symbolic import is_symbolic
from mmvmamba.registry import MODELS

from .base import BaseBackbone, check_images, resolve_arch, resolve_out_indices

__all__ = ['MambaOut']

NUM_STAGES = 4
NORM_EPS = 1e-6
# Of the hidden map of one block. Twice to four times this is alive at once.
CACHE_BYTES = 8 * 2**20
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {'gelu': F.gelu, 'silu': F.silu}


class Stem(nn.Module):
    """Two 3 x 3 convolutions of stride 2; timm's own variants have no norm between them."""

    def __init__(self, in_channels: int, dim: int, act: str, with_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, dim // 2, 3, stride=2, padding=1)
        self.norm1 = nn.LayerNorm(dim // 2, eps=NORM_EPS) if with_norm else nn.Identity()
        self.act = ACTIVATIONS[act]
        self.conv2 = nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(conv_channels_last(self.conv1, x)))
        return self.norm2(conv_channels_last(self.conv2, x))


class Downsample(nn.Module):
    """A 3 x 3 convolution of stride 2 and a norm after it, or before it in timm's own variants."""

    def __init__(self, in_dim: int, dim: int, with_norm_first: bool) -> None:
        super().__init__()
        self.with_norm_first = with_norm_first
        self.conv = nn.Conv2d(in_dim, dim, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(in_dim if with_norm_first else dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        if self.with_norm_first:
            return conv_channels_last(self.conv, self.norm(x))
        return self.norm(conv_channels_last(self.conv, x))


class LayerScale(nn.Module):
    """A factor for each channel of a residual branch."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class GatedCNNBlock(nn.Module):
    """Norm, expansion, depthwise convolution of some channels, gate, contraction; one residual.

    Args:
        dim: Channels.
        expansion: Hidden channels per channel; the number is cut to an integer.
        kernel_size: Of the depthwise convolution.
        conv_ratio: Convolved channels per channel; the other hidden channels pass unchanged.
        act: Activation of the gate, 'gelu' or 'silu'.
        drop_path_rate: Stochastic depth.
        layer_scale: Initial value of the factors on the branch, or None for no factors.
    """

    def __init__(
        self,
        dim: int,
        expansion: float = 8 / 3,
        kernel_size: int = 7,
        conv_ratio: float = 1.0,
        act: str = 'gelu',
        drop_path_rate: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        hidden, convolved = int(expansion * dim), int(conv_ratio * dim)
        if not 0 < convolved <= hidden:
            raise ValueError(f'conv_ratio must lie in (0, expansion {expansion}], got {conv_ratio}')
        self.split = [hidden, hidden - convolved, convolved]
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.activation, self.act = act, ACTIVATIONS[act]
        self.conv = nn.Conv2d(
            convolved, convolved, kernel_size, padding=kernel_size // 2, groups=convolved
        )
        self.fc2 = nn.Linear(hidden, dim)
        self.ls = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or is_symbolic(x)
        if self.training or torch.is_grad_enabled() or traced:
            return self.forward_plain(x)
        if fuses(x) and is_plain(self.norm, nn.LayerNorm):
            return self.forward_fused(x)
        return self.forward_inference(x)

    def forward_plain(self, x: Tensor) -> Tensor:
        """The block as the paper draws it."""
        gate, identity, convolved = self.fc1(self.norm(x)).split(self.split, dim=-1)
        # Mamba has an activation after this convolution, the gated CNN block has none.
        convolved = conv_channels_last(self.conv, convolved)
        y = self.fc2(self.act(gate) * torch.cat([identity, convolved], dim=-1))
        return x + self.drop_path(self.ls(y))

    def forward_fused(self, x: Tensor) -> Tensor:
        """The same on a GPU, where the gate and what it opens are one kernel."""
        _, normed = add_and_norm(self.norm, x)
        gate, identity, convolved = linear(self.fc1, normed).split(self.split, dim=-1)
        convolved = conv_channels_last(self.conv, convolved)
        y = gate_channels(gate, identity, convolved, self.activation)
        return x + self.ls(linear(self.fc2, y))

    def forward_inference(self, x: Tensor) -> Tensor:
        """The same without the concatenation and, on a CPU, with hidden maps that fit its cache."""
        hidden, num_identity, _ = self.split
        chunks = []
        for chunk in x.split(images_in_cache(x, 2 * hidden)):
            gate, identity, convolved = self.fc1(self.norm(chunk)).split(self.split, dim=-1)
            y = self.act(gate)
            y[..., :num_identity] *= identity
            y[..., num_identity:] *= conv_channels_last(self.conv, convolved)
            chunks.append(chunk + self.ls(self.fc2(y)))
        return torch.cat(chunks) if len(chunks) > 1 else chunks[0]

    def packed_form(self, dtype: torch.dtype) -> nn.Module:
        """The block for inference on a CPU."""
        return PackedGatedCNNBlock(self, dtype)


class PackedGatedCNNBlock(nn.Module):
    """A block whose projection is cut into its parts, so that none of them is copied later."""

    def __init__(self, block: GatedCNNBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.hidden, self.num_identity, _ = block.split
        self.norm = block.norm
        gate, identity, convolved = (
            linear_of(weight, bias)
            for weight, bias in zip(
                block.fc1.weight.split(block.split), block.fc1.bias.split(block.split), strict=True
            )
        )
        self.gate = PackedLinear(gate, dtype, block.activation)
        # A convolution of all hidden channels leaves none as they are.
        self.identity = PackedLinear(identity, dtype) if self.num_identity else None
        self.convolved = PackedLinear(convolved, dtype)
        self.conv = PackedConv2d(block.conv, dtype)
        scale = block.ls.gamma if isinstance(block.ls, LayerScale) else torch.ones(1)
        fc2 = linear_of(block.fc2.weight * scale[:, None], block.fc2.bias * scale)
        self.fc2 = PackedLinear(fc2, dtype)

    def forward(self, x: Tensor) -> Tensor:
        chunks = [self.forward_chunk(c) for c in x.split(images_in_cache(x, 2 * self.hidden))]
        return torch.cat(chunks) if len(chunks) > 1 else chunks[0]

    def forward_chunk(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        y = self.gate(normed)
        if self.identity is not None:
            y[..., : self.num_identity] *= self.identity(normed)
        y[..., self.num_identity :] *= conv_channels_last(self.conv, self.convolved(normed))
        return self.fc2(y) + x


def images_in_cache(x: Tensor, channels: int) -> int:
    """How many images of ``(N, H, W, C)`` to work on at once, with so many hidden channels."""
    if x.device.type != 'cpu':
        return max(len(x), 1)
    return max(1, CACHE_BYTES // (x.shape[1] * x.shape[2] * channels * x.element_size()))


@MODELS.register_module()
class MambaOut(BaseBackbone):
    """MambaOut.

    Paper: `MambaOut: Do We Really Need Mamba for Vision? <https://arxiv.org/abs/2405.07992>`_.

    Strides are 4, 8, 16 and 32, rounded up; any image size goes. For classification the neck
    ``MambaOutNeck`` pools the last map; for detection and segmentation set ``out_norm``.

    Args:
        arch: A row of ``arch_zoo`` or a dict with the same keys.
        in_channels: Channels of the image.
        kernel_size: Of the depthwise convolutions.
        drop_path_rate: Stochastic depth of the last block; it grows evenly from 0. Published: 0.025
            for femto and kobe, 0.2 for tiny, 0.4 for small, 0.6 for base.
        out_indices: Stages whose maps are put out.
        out_norm: 'LN2d' normalises each output (``outnorm{i}``); None does not.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and n stages.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training; there are none.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'mambaout'
    # ModuleLists, whose members torch gives no types.
    downsample_layers: Any
    stages: Any
    task_only_keys = (r'outnorm\d+\.',)

    # Table 1 of the paper; the rows with _rw and 'test' are timm's, with the changes of RW.
    # fmt: off
    RW = dict(with_stem_norm=False, with_norm_first=True, layer_scale=1e-5)
    arch_zoo = {
        'femto': dict(depths=(3, 3, 9, 3), dims=(48, 96, 192, 288)),
        'kobe': dict(depths=(3, 3, 15, 3), dims=(48, 96, 192, 288)),
        'tiny': dict(depths=(3, 3, 9, 3), dims=(96, 192, 384, 576)),
        'small': dict(depths=(3, 4, 27, 3), dims=(96, 192, 384, 576)),
        'base': dict(depths=(3, 4, 27, 3), dims=(128, 256, 512, 768)),
        'small_rw': dict(depths=(3, 4, 27, 3), dims=(96, 192, 384, 576), **RW),
        'base_short_rw': dict(depths=(3, 3, 25, 3), dims=(128, 256, 512, 768), **RW,
                              expansion=3.0, conv_ratio=1.25),
        'base_tall_rw': dict(depths=(3, 4, 30, 3), dims=(128, 256, 512, 768), **RW,
                             expansion=2.5, conv_ratio=1.25),
        'base_wide_rw': dict(depths=(3, 4, 27, 3), dims=(128, 256, 512, 768), **RW,
                             expansion=3.0, conv_ratio=1.5, act='silu'),
        'base_plus_rw': dict(depths=(3, 4, 30, 3), dims=(128, 256, 512, 768), **RW,
                             expansion=3.0, conv_ratio=1.5, act='silu'),
        'test': dict(depths=(1, 1, 3, 1), dims=(16, 32, 48, 64), **RW,
                     expansion=3.0, conv_ratio=1.0, act='silu'),
    }
    # fmt: on

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        kernel_size: int = 7,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: str | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        settings = resolve_arch(arch, self.arch_zoo)
        depths, dims = settings['depths'], settings['dims']
        if not len(depths) == len(dims) == NUM_STAGES:
            raise ValueError(f'depths and dims must have 4 entries each, got {depths} and {dims}')
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        if settings.get('act', 'gelu') not in ACTIVATIONS:
            raise ValueError(f'act must be one of {list(ACTIVATIONS)}, got {settings["act"]!r}')
        self.out_indices = resolve_out_indices(out_indices, NUM_STAGES)
        self.stage_channels = tuple(dims)
        act = settings.get('act', 'gelu')

        self.downsample_layers = nn.ModuleList(
            [Stem(in_channels, dims[0], act, settings.get('with_stem_norm', True))]
        )
        for in_dim, dim in pairwise(dims):
            self.downsample_layers.append(
                Downsample(in_dim, dim, settings.get('with_norm_first', False))
            )
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stages = nn.ModuleList(
            nn.ModuleList(
                GatedCNNBlock(
                    dim,
                    settings.get('expansion', 8 / 3),
                    kernel_size,
                    settings.get('conv_ratio', 1.0),
                    act,
                    next(rates),
                    settings.get('layer_scale'),
                )
                for _ in range(depth)
            )
            for dim, depth in zip(dims, depths, strict=True)
        )
        if out_norm not in (None, 'LN2d'):
            raise ValueError(f"out_norm must be 'LN2d' or None, got {out_norm!r}")
        self.out_norm = out_norm
        if out_norm is not None:
            for i in set(self.out_indices):
                self.add_module(f'outnorm{i}', nn.LayerNorm(dims[i], eps=NORM_EPS))

    def init_own_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        stages = [[*pair] for pair in zip(self.downsample_layers, self.stages, strict=True)]
        return [[self.downsample_layers[0]], *stages]

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        layers: list[tuple[str, ...]] = [('downsample_layers.0.',)]
        for i, stage in enumerate(self.stages):
            layers += [(f'stages.{i}.{j}.',) for j in range(len(stage))]
            if i > 0:
                # What stands before a stage belongs to its first block.
                layers[-len(stage)] += (f'downsample_layers.{i}.',)
        return layers

    def stage_maps(self, x: Tensor, indices: Sequence[int]) -> dict[int, Tensor]:
        """The maps of some stages, ``(N, H', W', C)``, without norm."""
        check_images(x, self.downsample_layers[0].conv1)
        x = x.permute(0, 2, 3, 1)
        maps = {}
        for i in range(max(indices) + 1):
            x = self.downsample_layers[i](x)
            for block in self.stages[i]:
                x = self.run_block(block, x)
            if i in indices:
                maps[i] = x
        return maps

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        last = NUM_STAGES - 1
        maps = self.stage_maps(images, (*indices, last))
        maps = {i: value.permute(0, 3, 1, 2) for i, value in maps.items()}
        # The norm of the pooled vector is in the neck.
        return maps[last].mean(dim=(2, 3)), [maps[i] for i in indices]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(N, in_channels, H, W)`` to a ``(N, C, H', W')`` for each of ``out_indices``."""
        maps = self.stage_maps(x, self.out_indices)
        if self.out_norm is not None:
            maps = {i: getattr(self, f'outnorm{i}')(value) for i, value in maps.items()}
        return laid_out(maps[i].permute(0, 3, 1, 2) for i in self.out_indices)

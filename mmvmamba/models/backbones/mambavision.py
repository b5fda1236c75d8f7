"""MambaVision: convolutions at high resolution, Mamba mixers and attention in windows at low.

Shapes: N images, C channels, H x W pixels; W windows in all images together, L tokens in a window.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import (
    MLP,
    Attention,
    ReadLinear,
    build_norm2d,
    drop_path,
    drop_path_rates,
    init_dt_proj_,
    initial_A_log,
    laid_out,
    layer_scale_parameter,
    pad_to_multiple,
    resolve_dt_rank,
    state_matrix,
)
from mmvmamba.layers.aligned_projection import project_parts
from mmvmamba.layers.evaluation import add_and_norm, fuses, is_plain, kept_of_weights, linear
from mmvmamba.ops.fused import convolve_silu
from mmvmamba.ops.selective_scan import selective_scan
from mmvmamba.registry import MODELS

from .base import BaseBackbone, check_images, resolve_arch, resolve_out_indices
from .mambavision_convs import ConvBlock, Downsample, PatchEmbed, convolve_tokens
from .mambavision_windows import window_partition, window_reverse

__all__ = ['MambaVision']

NUM_STAGES = 4
RunBlock = Callable[..., Tensor]


class MambaVisionMixer(nn.Module):
    """The paper's mixer: half of the channels are scanned, the other half joins them unscanned.

    Args:
        dim: Channels in and out.
        d_state: States per channel of the scan.
        d_conv: Kernel size of the convolution along the tokens.
        expand: Inner channels per channel; half of them are scanned.
        use_mamba_dt_init: Whether the step sizes start as in Mamba and their bias is added once.
            The released models start with a bias of 0 and add it twice.
    """

    def __init__(
        self,
        dim: int,
        d_state: int = 8,
        d_conv: int = 3,
        expand: float = 1,
        use_mamba_dt_init: bool = False,
    ) -> None:
        super().__init__()
        inner = int(expand * dim)
        half = inner // 2
        dt_rank = resolve_dt_rank('auto', dim)
        self.use_mamba_dt_init = use_mamba_dt_init
        self.split = [dt_rank, d_state, d_state]
        self.in_proj = nn.Linear(dim, inner, bias=False)
        # Upstream asks for a bias here and by a slip gets none. Not causal: 'same' padding, the odd
        # zero on the right.
        conv1d = partial(nn.Conv1d, half, half, d_conv, padding='same', groups=half, bias=False)
        self.conv1d_x = conv1d()
        self.conv1d_z = conv1d()
        self.x_proj = nn.Linear(half, sum(self.split), bias=False)
        self.dt_proj = ReadLinear(dt_rank, half)
        self.A_log = nn.Parameter(initial_A_log(half, d_state))
        self.D = nn.Parameter(torch.ones(half))
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # (W, L, C). The window is one row of tokens: the convolution and the scan run on from each
        # line to the next.
        x, z = self._convolve(linear(self.in_proj, x)).chunk(2, dim=-1)
        dt, B, C = project_parts(x, self.x_proj, self.split)
        # The bias enters twice, here and in the scan: the released weights were trained so.
        delta = linear(self.dt_proj, dt)
        y = selective_scan(
            x,
            delta,
            kept_of_weights(self, 'A', state_matrix, self.A_log),
            B,
            C,
            self.D,
            delta_bias=None if self.use_mamba_dt_init else self.dt_proj.bias,
            delta_softplus=True,
            channels_last=True,
        )
        return linear(self.out_proj, torch.cat([y, z], dim=-1))

    def _convolve(self, xz: Tensor) -> Tensor:
        """Both depthwise convolutions and their SiLU in one go."""
        weights = (self.conv1d_x.weight, self.conv1d_z.weight)
        if not fuses(xz) or not all(is_plain(c, nn.Conv1d) for c in (self.conv1d_x, self.conv1d_z)):
            return F.silu(convolve_tokens(xz, torch.cat(weights)))
        taps = kept_of_weights(self, 'taps', taps_by_channel, *weights)
        # 'same' padding puts the odd zero on the right.
        return convolve_silu(xz, taps, None, [(taps.shape[1] - 1) // 2])[0]


def taps_by_channel(*weights: Tensor) -> Tensor:
    """The taps of convolutions that share the channels among them, ``(1, taps, channels)``."""
    return torch.cat(weights)[:, 0].t()[None].contiguous()


class Block(nn.Module):
    """Residual block of stages 2 and 3 around a mixer or attention.

    Args:
        dim: Channels.
        mixer: ``MambaVisionMixer`` or ``Attention``.
        mlp_ratio: Hidden channels of the MLP per channel.
        drop_rate: Dropout in the MLP.
        drop_path_rate: Stochastic depth.
        layer_scale: Initial value of the factors on both branches, or None for no factors.
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio), drop_rate)
        self.gamma_1 = layer_scale_parameter(layer_scale, dim)
        self.gamma_2 = layer_scale_parameter(layer_scale, dim)
        self.drop_path = drop_path(drop_path_rate)

    def forward(self, x: Tensor, coins: int | None = None) -> Tensor:
        """Maps ``(W, L, C)`` to the same shape; branches drop in ``coins`` groups of windows."""
        norms = self.norm1, self.norm2
        if not self.training and fuses(x) and all(is_plain(norm, nn.LayerNorm) for norm in norms):
            _, normed = add_and_norm(self.norm1, x)
            x, normed = add_and_norm(self.norm2, x, self.mixer(normed), self.gamma_1)
            y = self.mlp(normed)
            return x + y if self.gamma_2 is None else torch.addcmul(x, y, self.gamma_2)
        x = x + self._branch(self.mixer(self.norm1(x)), self.gamma_1, coins)
        return x + self._branch(self.mlp(self.norm2(x)), self.gamma_2, coins)

    def _branch(self, y: Tensor, gamma: Tensor | None, coins: int | None) -> Tensor:
        if gamma is not None:
            y = y * gamma
        grouped = y if coins is None else y.reshape(coins, -1)
        return self.drop_path(grouped).view(y.shape)


class ConvStage(nn.Module):
    """Stage 0 or 1. Returns the map before down-sampling."""

    def __init__(self, blocks: Sequence[ConvBlock], downsample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor, run_block: RunBlock) -> Tensor:
        for block in self.blocks:
            x = run_block(block, x)
        return x


class TokenStage(nn.Module):
    """Stage 2 or 3. Returns the map before down-sampling.

    The map is padded with zeros at the bottom and the right to whole windows, once. The padding
    takes part in everything unmasked, as in the released models, so results depend on the window
    size even where one window holds the whole map.

    Args:
        blocks: Its blocks.
        downsample: What follows the stage.
        window_size: Side of the windows.
        use_clipped_windows: Whether a window is cut to the size of the map, which saves the padding
            of large windows.
        use_image_drop_path: Whether stochastic depth drops a branch for all windows of an image
            together, and not for each window by itself.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        downsample: nn.Module,
        window_size: int,
        use_clipped_windows: bool = False,
        use_image_drop_path: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.window_size = window_size
        self.use_clipped_windows = use_clipped_windows
        self.use_image_drop_path = use_image_drop_path

    def forward(self, x: Tensor, run_block: RunBlock) -> Tensor:
        batch, _, height, width = x.shape
        window = (self.window_size, self.window_size)
        if self.use_clipped_windows:
            window = (min(window[0], height), min(window[1], width))
        x = pad_to_multiple(x, *window)
        tokens = window_partition(x, window)
        coins = batch if self.use_image_drop_path else None
        for block in self.blocks:
            tokens = run_block(block, tokens, coins)
        padded = (x.shape[2], x.shape[3])
        return window_reverse(tokens, window, padded)[:, :, :height, :width]


@MODELS.register_module()
class MambaVision(BaseBackbone):
    """MambaVision.

    Paper: `MambaVision: A Hybrid Mamba-Transformer Vision Backbone
        <https://arxiv.org/abs/2407.08083>`_.
    Written from a description of the architecture; shares no code with the release.

    Stages 0 and 1 are convolutions, stages 2 and 3 work on windows of tokens: the first half of
    their blocks are Mamba mixers (one more if the number is odd), the rest is attention. Strides
    are 4, 8, 16 and 32; any image size goes. For classification set ``final_norm`` and pool the
    last map; for detection and segmentation set ``out_norm`` and, to use the released downstream
    weights, the window sizes they were trained with.

    Args:
        arch: A row of ``arch_zoo`` or a dict with the same keys.
        in_channels: Channels of the image.
        window_size: Sides of the windows of the last two stages, instead of the variant's own. A
            sequence of four, as the released configs write it, is taken too; its first two entries
            have no meaning.
        mlp_ratio: Hidden channels of the MLPs per channel.
        qkv_bias: Whether the attention's projections have a bias.
        use_qk_norm: Whether queries and keys are normalised (``qk_scale`` upstream).
        drop_rate: Dropout after projections and in the MLPs.
        attn_drop_rate: Dropout of attention weights, in training only.
        drop_path_rate: Stochastic depth of the last block; it grows evenly from 0. Published: 0.2
            for T, T2 and S, 0.3 for B, L and L2, 0.5 for L3, and 0.2 for all detectors and
            segmentors whatever their configs say.
        layer_scale_conv: Initial value of factors on the convolution blocks, or None for no
            factors.
        use_mamba_dt_init: Whether step sizes start as in Mamba, with a single bias. False matches
            the released weights.
        use_image_drop_path: Whether stochastic depth drops whole images instead of single windows.
        use_clipped_windows: Whether windows larger than the map are cut to it. Saves much time with
            the windows of the released detectors, but changes the numbers.
        out_indices: Stages whose maps are put out.
        out_norm: 'LN2d', 'BN' or 'SyncBN' normalises each output (``outnorm{i}``); None does not.
        final_norm: Whether the last stage's map goes through the classifier's BatchNorm (``norm``).
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and n stages.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    family = 'mambavision'
    head_only_keys = (r'norm\.',)
    task_only_keys = (r'outnorm\d+\.',)
    levels: Any  # a ModuleList, whose members torch gives no types

    # Table 1 and the model cards of the release. Weights do not depend on the windows.
    # fmt: off
    arch_zoo = {
        'T': dict(dim=80, in_dim=32, depths=(1, 3, 8, 4), num_heads=(8, 16), window_size=(14, 7)),
        'T2': dict(dim=80, in_dim=32, depths=(1, 3, 11, 4), num_heads=(8, 16), window_size=(14, 7)),
        'S': dict(dim=96, in_dim=64, depths=(3, 3, 7, 5), num_heads=(8, 16), window_size=(14, 7)),
        'B': dict(dim=128, in_dim=64, depths=(3, 3, 10, 5), num_heads=(8, 16), window_size=(14, 7),
                  layer_scale=1e-5),
        'L': dict(dim=196, in_dim=64, depths=(3, 3, 10, 5), num_heads=(16, 32), window_size=(14, 7),
                  layer_scale=1e-5),
        'L2': dict(dim=196, in_dim=64, depths=(3, 3, 12, 5), num_heads=(16, 32),
                   window_size=(14, 7), layer_scale=1e-5),
        'L2_512': dict(dim=196, in_dim=64, depths=(3, 3, 12, 5), num_heads=(16, 32),
                       window_size=(32, 16), layer_scale=1e-5),
        'L3_256': dict(dim=256, in_dim=64, depths=(3, 3, 20, 10), num_heads=(16, 32),
                       window_size=(16, 8), layer_scale=1e-5),
        'L3_512': dict(dim=256, in_dim=64, depths=(3, 3, 20, 10), num_heads=(16, 32),
                       window_size=(32, 16), layer_scale=1e-5),
    }
    # fmt: on

    def __init__(
        self,
        arch: str | dict = 'T',
        in_channels: int = 3,
        window_size: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        use_qk_norm: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        layer_scale_conv: float | None = None,
        use_mamba_dt_init: bool = False,
        use_image_drop_path: bool = False,
        use_clipped_windows: bool = False,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: str | None = None,
        final_norm: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        settings = self._resolve_settings(arch, window_size)
        dim, depths = settings['dim'], settings['depths']
        self.out_indices = resolve_out_indices(out_indices, NUM_STAGES)
        self.stage_channels = tuple(dim * 2**i for i in range(NUM_STAGES))

        self.patch_embed = PatchEmbed(in_channels, settings['in_dim'], dim)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.levels = nn.ModuleList()
        for i, (width, depth) in enumerate(zip(self.stage_channels, depths, strict=True)):
            downsample = Downsample(width) if i < NUM_STAGES - 1 else nn.Identity()
            if i < 2:
                convs = [ConvBlock(width, next(rates), layer_scale_conv) for _ in range(depth)]
                self.levels.append(ConvStage(convs, downsample))
                continue
            heads, window = settings['num_heads'][i - 2], settings['window_size'][i - 2]
            mixers: list[nn.Module] = [
                MambaVisionMixer(width, use_mamba_dt_init=use_mamba_dt_init)
                for _ in range(math.ceil(depth / 2))
            ]
            mixers += [
                Attention(width, heads, qkv_bias, use_qk_norm, attn_drop_rate, drop_rate)
                for _ in range(depth // 2)
            ]
            blocks = [
                Block(width, mixer, mlp_ratio, drop_rate, next(rates), settings.get('layer_scale'))
                for mixer in mixers
            ]
            self.levels.append(
                TokenStage(blocks, downsample, window, use_clipped_windows, use_image_drop_path)
            )
        self._build_norms(out_norm, final_norm)

    @classmethod
    def _resolve_settings(cls, arch: str | dict, window_size: Sequence[int] | None) -> dict:
        settings = resolve_arch(arch, cls.arch_zoo)
        if window_size is not None:
            settings['window_size'] = window_size
        if len(settings['depths']) != NUM_STAGES:
            raise ValueError(f'depths must have {NUM_STAGES} entries, got {settings["depths"]}')
        for name in ('window_size', 'num_heads'):
            values = tuple(settings[name])
            if len(values) not in (2, NUM_STAGES) or min(values) < 1:
                raise ValueError(
                    f'{name} must be two positive numbers, for stages 2 and 3, or four of which '
                    f'the first two have no meaning, got {settings[name]}'
                )
            settings[name] = values[-2:]
        return settings

    def _build_norms(self, out_norm: str | None, final_norm: bool) -> None:
        allowed = ('LN2d', 'BN', 'SyncBN')
        if out_norm is not None and out_norm not in allowed:
            raise ValueError(f'out_norm must be one of {allowed} or None, got {out_norm!r}')
        if final_norm and (out_norm is not None or NUM_STAGES - 1 not in self.out_indices):
            raise ValueError(
                'final_norm needs stage 3 among out_indices and no out_norm, '
                f'got out_indices {self.out_indices} and out_norm {out_norm!r}'
            )
        self.norm = nn.BatchNorm2d(self.num_features) if final_norm else None
        self.out_norm = out_norm
        if out_norm is not None:
            for i in set(self.out_indices):
                norm = build_norm2d(dict(type=out_norm, eps=1e-5), self.stage_channels[i])
                self.add_module(f'outnorm{i}', norm)

    def init_own_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            # Upstream overwrites the step sizes' own initialisation with the one above.
            if isinstance(module, MambaVisionMixer) and module.use_mamba_dt_init:
                init_dt_proj_(module.dt_proj)

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        return [[self.patch_embed], *([level] for level in self.levels)]

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        layers: list[tuple[str, ...]] = [('patch_embed.',)]
        for i, level in enumerate(self.levels):
            layers += [(f'levels.{i}.blocks.{j}.',) for j in range(len(level.blocks))]
            if i > 0:
                # A level ends with the down-sampling that belongs to the first block of the next.
                layers[-len(level.blocks)] += (f'levels.{i - 1}.downsample.',)
        return layers

    def stage_maps(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """The stages' maps, without norm, up to ``last``; None for the last of ``out_indices``."""
        check_images(x, self.patch_embed.conv_down[0])
        x = self.patch_embed(x)
        maps = []
        last = max(self.out_indices) if last is None else last
        for i, level in enumerate(self.levels[: last + 1]):
            maps.append(level(x, self.run_block))
            if i < last:
                x = level.downsample(maps[-1])
        return maps

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        maps = self.stage_maps(images, NUM_STAGES - 1)
        features = maps[-1] if self.norm is None else self.norm(maps[-1])
        return features.mean(dim=(2, 3)), [maps[i] for i in indices]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(N, in_channels, H, W)`` to a ``(N, C, H', W')`` for each of ``out_indices``."""
        maps = self.stage_maps(x)
        if self.norm is not None:
            maps[-1] = self.norm(maps[-1])
        if self.out_norm is not None:
            for i in set(self.out_indices):
                maps[i] = getattr(self, f'outnorm{i}')(maps[i])
        return laid_out(maps[i] for i in self.out_indices)

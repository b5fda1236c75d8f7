"""What pyramids of four stages share whose official files name their parts alike."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmvmamba.layers import laid_out

from .base import BaseBackbone, check_images, resolve_out_indices

__all__ = ['NORM_EPS', 'NUM_STAGES', 'PyramidBackbone', 'PyramidStage']

NUM_STAGES = 4
NORM_EPS = 1e-5


class PyramidStage(nn.Module):
    """Blocks, and what brings their map to the next stage."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class PyramidBackbone(BaseBackbone):
    """Base of backbones whose maps are (N, H, W, C) from ``patch_embed`` through ``layers``.

    A subclass builds these two, calls ``build_norms``, and says in ``arch_zoo`` which variants
    there are. Each of ``layers`` is a ``PyramidStage``.

    Args:
        dims: Channels of the four stages.
        out_indices: Stages whose maps are put out.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and n stages.
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    head_only_keys = (r'norm\.',)
    task_only_keys = (r'outnorm\d+\.',)
    patch_embed: nn.Module
    layers: Any  # a ModuleList, whose members torch gives no types

    def __init__(
        self,
        dims: Sequence[int],
        out_indices: int | Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        with_cp: bool,
        init_cfg: dict | list | None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        if len(dims) != NUM_STAGES:
            raise ValueError(f'dims must have {NUM_STAGES} entries, got {dims}')
        self.stage_channels = tuple(dims)
        self.out_indices = resolve_out_indices(out_indices, NUM_STAGES)

    def build_norms(self, out_norm: str | None, final_norm: bool) -> None:
        """Adds the norms of the outputs, or the classifier's.

        Args:
            out_norm: 'LN2d' normalises each output (``outnorm{i}``); None does not.
            final_norm: Whether the last stage's map goes through the classifier's norm (``norm``).
        """
        if out_norm not in (None, 'LN2d'):
            raise ValueError(f"out_norm must be 'LN2d' or None, got {out_norm!r}")
        if final_norm and (out_norm is not None or NUM_STAGES - 1 not in self.out_indices):
            raise ValueError(
                'final_norm needs stage 3 among out_indices and no out_norm, '
                f'got out_indices {self.out_indices} and out_norm {out_norm!r}'
            )
        self.norm = nn.LayerNorm(self.num_features, eps=NORM_EPS) if final_norm else None
        self.out_norm = out_norm
        if out_norm is not None:
            for i in set(self.out_indices):
                norm = nn.LayerNorm(self.stage_channels[i], eps=NORM_EPS)
                self.add_module(f'outnorm{i}', norm)

    def init_own_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        return [[self.patch_embed], *([stage] for stage in self.layers)]

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        layers: list[tuple[str, ...]] = [('patch_embed.',)]
        for i, stage in enumerate(self.layers):
            layers += [(f'layers.{i}.blocks.{j}.',) for j in range(len(stage.blocks))]
            if i > 0:
                # What ends a stage belongs to the first block of the next.
                layers[-len(stage.blocks)] += (f'layers.{i - 1}.downsample.',)
        return layers

    def embed(self, images: Tensor) -> Tensor:
        """The map of the stem, ``(N, H, W, C)``."""
        stem = next(m for m in self.patch_embed.modules() if isinstance(m, nn.Conv2d))
        check_images(images, stem)
        return self.patch_embed(images)

    def stage_maps(self, images: Tensor, last: int) -> list[Tensor]:
        """The stages' maps, ``(N, H, W, C)`` and without norm, up to the stage ``last``."""
        x = self.embed(images)
        maps: list[Tensor] = []
        for i, stage in enumerate(self.layers[: last + 1]):
            for block in stage.blocks:
                x = self.run_block(block, x)
            maps.append(x)
            if i < last:
                x = stage.downsample(x)
        return maps

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        maps = self.stage_maps(images, NUM_STAGES - 1)
        features = maps[-1] if self.norm is None else self.norm(maps[-1])
        return features.mean(dim=(1, 2)), [maps[i].permute(0, 3, 1, 2) for i in indices]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(N, in_channels, H, W)`` to a ``(N, C, H', W')`` for each of ``out_indices``."""
        maps = self.stage_maps(x, max(self.out_indices))
        # Stages go on from the map without norm.
        return laid_out(self.normed(maps[i], i).permute(0, 3, 1, 2) for i in self.out_indices)

    def normed(self, x: Tensor, stage: int) -> Tensor:
        """The map of a stage as it is put out."""
        if self.out_norm is not None:
            return self.get_submodule(f'outnorm{stage}')(x)
        return self.norm(x) if self.norm is not None and stage == NUM_STAGES - 1 else x

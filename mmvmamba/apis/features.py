"""A backbone as a feature extractor: a pooled vector and the maps of its stages."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mmvmamba.layers.position_embedding import class_token_places, remove_tokens
from mmvmamba.models.backbones.base import resolve_out_indices

from .model_table import find_model
from .models import get_model

__all__ = ['FeatureExtractor', 'get_feature_extractor']


def get_feature_extractor(
    name: str,
    out_indices: int | Sequence[int] | None = None,
    pretrained: bool | str | Path = False,
    device: str | torch.device | None = None,
    entry: str | None = None,
    **backbone_overrides,
) -> 'FeatureExtractor':
    """Builds a feature extractor, in evaluation mode.

    Args:
        name: A classification model of ``list_models`` or an official name.
        out_indices: Stages (of PlainMamba, Vim and ViT: blocks) whose maps are returned; None for
            all four stages, or for four blocks at even distances, the last one included.
        pretrained: See ``get_model``.
        device: Where it is put.
        entry: See ``get_model``.
        **backbone_overrides: Arguments of the backbone.
    """
    family = find_model(name).family
    if family in ('mambavision', 'mambaout'):
        backbone_overrides = dict(backbone_overrides, out_indices=(0, 1, 2, 3))
    model = get_model(name, pretrained, None, device, entry, **backbone_overrides)
    extractor = EXTRACTORS[family](model, out_indices)
    extractor.preprocessing = model.preprocessing
    return extractor.eval()


class FeatureExtractor(nn.Module):
    """Gives ``(pooled, maps)`` for a batch of images.

    ``pooled``, ``(N, C)``, is what the classifier goes on from: pooled after the final norm.
    ``maps`` is a list of ``(N, C, H, W)``, one for each of ``out_indices``, as the stage leaves
    them: before down-sampling and without a norm. The last map of a model of one stage is normed,
    because the norm is part of their stream.

    Args:
        model: A classifier of ``get_model``.
        out_indices: See ``get_feature_extractor``.
    """

    def __init__(self, model: nn.Module, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck
        count = self.num_outputs()
        if out_indices is None:
            out_indices = [(i + 1) * count // 4 - 1 for i in range(4)]
        self.out_indices = resolve_out_indices(out_indices, count)
        # The pooled vector needs the last map as well.
        self.backbone.out_indices = tuple(sorted({*self.out_indices, count - 1}))

    def num_outputs(self) -> int:
        return 4

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError


class MambaVisionExtractor(FeatureExtractor):
    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.backbone.stage_maps(images)
        pooled = self.backbone.norm(maps[-1]).mean(dim=(2, 3))
        return pooled, [maps[i] for i in self.out_indices]


class MambaOutExtractor(FeatureExtractor):
    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = dict(zip(self.backbone.out_indices, self.backbone(images), strict=True))
        pooled = self.neck.norm(maps[3].mean(dim=(2, 3)))
        return pooled, [maps[i] for i in self.out_indices]


class PlainMambaExtractor(FeatureExtractor):
    def num_outputs(self) -> int:
        return len(self.backbone.layers)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = dict(zip(self.backbone.out_indices, self.backbone(images), strict=True))
        pooled = maps[self.num_outputs() - 1].mean(dim=(2, 3))
        return pooled, [maps[i] for i in self.out_indices]


class VimExtractor(FeatureExtractor):
    """The pooled vector is the class token, or the mean of the patches where there is none."""

    def __init__(self, model: nn.Module, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__(model, out_indices)
        self.backbone.out_type = 'raw'

    def num_outputs(self) -> int:
        return len(self.backbone.layers)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        backbone = self.backbone
        outputs = dict(zip(backbone.out_indices, backbone(images), strict=True))
        grid = tuple(
            (side - backbone.patch_size) // backbone.stride + 1 for side in images.shape[2:]
        )
        places = class_token_places(backbone.class_token, grid[0] * grid[1])
        last = outputs[self.num_outputs() - 1]
        pooled = last[:, list(places)] if places else last
        maps = (remove_tokens(outputs[i], places).transpose(1, 2) for i in self.out_indices)
        return pooled.mean(dim=1), [patches.unflatten(2, grid) for patches in maps]


class TransformerExtractor(FeatureExtractor):
    """The pooled vector is the class token."""

    def __init__(self, model: nn.Module, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__(model, out_indices)
        self.backbone.out_type = 'raw'

    def num_outputs(self) -> int:
        return len(self.backbone.blocks)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        backbone = self.backbone
        outputs = dict(zip(backbone.out_indices, backbone(images), strict=True))
        grid = tuple(side // backbone.patch_size for side in images.shape[2:])
        parts = {i: backbone.split_tokens(tokens) for i, tokens in outputs.items()}
        maps = [parts[i][0].transpose(1, 2).unflatten(2, grid) for i in self.out_indices]
        return parts[self.num_outputs() - 1][1][:, 0], maps


EXTRACTORS = {
    'plain_mamba': PlainMambaExtractor,
    'vim': VimExtractor,
    'mambavision': MambaVisionExtractor,
    'mambaout': MambaOutExtractor,
    'vit': TransformerExtractor,
}

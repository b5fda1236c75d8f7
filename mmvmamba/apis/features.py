"""A backbone as a feature extractor: a pooled vector and the maps of its stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmvmamba.models.backbones.base import resolve_out_indices

from .model_table import find_model
from .models import get_model
from .task_models import task_configs

if TYPE_CHECKING:
    from mmpretrain.models import ImageClassifier

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
        out_indices: Stages (in a model of constant width: blocks) whose maps are returned; None for
            all four stages, or for four blocks at even distances, the last one included.
        pretrained: See ``get_model``.
        device: Where it is put.
        entry: See ``get_model``.
        **backbone_overrides: Arguments of the backbone.

    Raises:
        ValueError: There is no such model, or it is no classifier.
    """
    if name in task_configs():
        raise ValueError(
            f'features are those of classifiers, which list_models(task="classification") names; '
            f'the maps of {name} are get_model({name!r}).extract_feat(images)'
        )
    model = get_model(find_model(name).name, pretrained, None, device, entry, **backbone_overrides)
    extractor = FeatureExtractor(model, out_indices)
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

    def __init__(
        self, model: 'ImageClassifier', out_indices: int | Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck
        count = len(self.backbone.stage_channels)
        if out_indices is None:
            out_indices = [(i + 1) * count // 4 - 1 for i in range(4)]
        self.out_indices = resolve_out_indices(out_indices, count)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        pooled, maps = self.backbone.feature_maps(images, self.out_indices)
        # Where the norm comes after the pooling it is a part of the neck.
        norm = getattr(self.neck, 'norm', None)
        return pooled if norm is None else norm(pooled), maps

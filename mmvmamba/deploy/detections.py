"""Detectors whole: from images to boxes, scores, labels and masks, beside what their heads give.

Numbers of boxes are fixed, as graphs want it: rows are sorted by score, and those behind the last
object have score 0 and label -1. No score is too low for a row: the model's own threshold is in the
metadata, and rows above it are what the model predicts.

In this file N is the batch, K the number of rows, S that of candidates, C that of classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.models.roi_heads import StandardRoIHead
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from .networks import DenseHead, Network

__all__ = ['OneStageDetector', 'TwoStageDetector', 'detector_of']

# Of regions and their classes, before boxes that overlap are left out.
CANDIDATES = 5000
Values = dict[str, Tensor]


class WholeDetector(Network):
    """A detector as a row of decisions, each made from what was found before it."""

    task = 'detection'
    decides = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.heads = DenseHead(model)
        self.names = (*self.heads.names, *self.decisions)

    decisions: tuple[str, ...] = ('boxes', 'scores', 'labels')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self._follow(images, None)

    def wanted(self, images: Tensor, got: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return self._follow(images, dict(zip(self.names, got, strict=True)))

    def _follow(self, images: Tensor, given: Mapping[str, Tensor] | None) -> tuple[Tensor, ...]:
        """Goes through all decisions, each from values that are given or else from its own."""
        features = self.model.extract_feat(images)
        raw = self.heads.outputs(features)
        made = dict(zip(self.heads.names, raw, strict=True))
        self.decide(features, images.shape[-2:], made, made if given is None else given)
        return tuple(made[name] for name in self.names)

    def decide(
        self, features: Sequence[Tensor], shape: Sequence[int], made: Values, given: Any
    ) -> None:
        """Adds what ``decisions`` names to ``made``, from values in ``given``."""
        raise NotImplementedError

    def _candidates(self, given: Any, shape: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """The best boxes, scores, logits, labels and levels of each image, from the dense head."""
        maps = [given[name] for name in self.heads.names]
        levels = len(maps) // 2
        head = self.heads.head
        priors = head.prior_generator.grid_priors(
            [x.shape[-2:] for x in maps[:levels]], device=maps[0].device
        )
        found = []
        for image in zip(*maps, strict=True):
            best = [
                _best_of_level(head, *level, shape, number)
                for number, level in enumerate(
                    zip(image[:levels], image[levels:], priors, strict=True)
                )
            ]
            found.append(tuple(torch.cat(x) for x in zip(*best, strict=True)))
        return found


class OneStageDetector(WholeDetector):
    """RetinaNet: the best anchors of each level, without those that overlap better ones."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.facts = dict(score_threshold=self.heads.head.test_cfg.score_thr)

    def decide(
        self, features: Sequence[Tensor], shape: Sequence[int], made: Values, given: Any
    ) -> None:
        settings = self.heads.head.test_cfg
        rows = [
            _choose(boxes, scores, logits, labels, settings, settings.max_per_img, shape)
            for boxes, scores, logits, labels, _ in self._candidates(given, shape)
        ]
        made.update(zip(self.decisions, _stack(rows), strict=True))


class TwoStageDetector(WholeDetector):
    """Mask R-CNN: proposals, what the heads say of each, and objects with their masks.

    ``masks`` are probabilities in a grid over each box.
    """

    decisions = ('proposals', 'class_scores', 'deltas', 'boxes', 'scores', 'labels')

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        settings = model.roi_head.test_cfg
        self.facts = dict(score_threshold=settings.score_thr)
        if model.roi_head.with_mask:
            self.names = (*self.names, 'masks')
            self.facts['mask_threshold'] = settings.mask_thr_binary

    def decide(
        self, features: Sequence[Tensor], shape: Sequence[int], made: Values, given: Any
    ) -> None:
        settings = self.model.rpn_head.test_cfg
        proposals = [
            _choose(boxes, scores, logits, levels, settings, settings.max_per_img, shape)[0]
            for boxes, scores, logits, _, levels in self._candidates(given, shape)
        ]
        made['proposals'] = torch.stack(proposals)
        made['class_scores'], made['deltas'] = self._classify(features, given['proposals'])
        regions = (given[name] for name in ('proposals', 'class_scores', 'deltas'))
        rows = [
            self._objects(proposal, logits, deltas, shape)
            for proposal, logits, deltas in zip(*regions, strict=True)
        ]
        made.update(zip(('boxes', 'scores', 'labels'), _stack(rows), strict=True))
        if 'masks' in self.names:
            made['masks'] = self._masks(features, given['boxes'], given['labels'])

    def _classify(self, features: Sequence[Tensor], proposals: Tensor) -> tuple[Tensor, ...]:
        head = self.model.roi_head
        cut = _cut_regions(head.bbox_roi_extractor, features, proposals)
        return tuple(x.unflatten(0, proposals.shape[:2]) for x in head.bbox_head(cut))

    def _objects(
        self, proposals: Tensor, logits: Tensor, deltas: Tensor, shape: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Boxes, scores and labels of one image."""
        settings, coder = self.model.roi_head.test_cfg, self.model.roi_head.bbox_head.bbox_coder
        # The last class is the background; rows without a proposal have no area.
        exists = (proposals[:, 2:] > proposals[:, :2]).all(1, keepdim=True)
        all_scores = logits.softmax(-1)[:, :-1] * exists
        classes = all_scores.shape[1]
        scores, places = all_scores.flatten().topk(min(CANDIDATES, all_scores.numel()))
        regions, labels = places // classes, places % classes
        by_class = deltas.unflatten(1, (-1, 4)).expand(-1, classes, -1).flatten(0, 1)
        boxes = coder.decode(proposals[regions], by_class[places], max_shape=shape)
        return _choose(boxes, scores, scores, labels, settings, settings.max_per_img, shape)

    def _masks(self, features: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        head = self.model.roi_head
        logits = head.mask_head(_cut_regions(head.mask_roi_extractor, features, boxes))
        if logits.shape[1] > 1:
            rows = torch.arange(len(logits), device=logits.device)
            logits = logits[rows, labels.flatten().clamp_min(0)][:, None]
        return logits[:, 0].sigmoid().unflatten(0, labels.shape)


def detector_of(model: Any) -> WholeDetector:
    """The network that gives what a detector predicts.

    Raises:
        ValueError: The decisions of its heads are not known here.
    """
    if isinstance(getattr(model, 'bbox_head', None), RetinaHead):
        return OneStageDetector(model)
    # A cascade is no StandardRoIHead.
    if isinstance(getattr(model, 'roi_head', None), StandardRoIHead):
        return TwoStageDetector(model)
    raise ValueError(
        'predictions are exported of RetinaNet, Faster and Mask R-CNN alone; of '
        f'{type(model).__name__} without predictions, which gives what its dense head gives'
    )


def _best_of_level(
    head: Any, logits: Tensor, deltas: Tensor, priors: Tensor, shape: Sequence[int], level: int
) -> tuple[Tensor, ...]:
    """Boxes, scores, logits, labels and the level of the best anchors of one image."""
    classes = head.cls_out_channels
    logits, places = (
        logits.permute(1, 2, 0).flatten().topk(min(head.test_cfg.nms_pre, logits.numel()))
    )
    anchors, labels = places // classes, places % classes
    deltas = deltas.permute(1, 2, 0).reshape(-1, 4)[anchors]
    boxes = head.bbox_coder.decode(priors[anchors], deltas, max_shape=shape)
    return boxes, logits.sigmoid(), logits, labels, torch.full_like(labels, level)


def _choose(
    boxes: Tensor,
    scores: Tensor,
    order: Tensor,
    groups: Tensor,
    settings: Any,
    count: int,
    shape: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes of a group that overlap no better one: ``count`` rows by falling score.

    ``order`` says which is better: probabilities that are near to 1 are the same number, and
    those of another library have other last bits, which logits do not.
    """
    smallest = settings.get('min_bbox_size', -1)
    if smallest >= 0:
        large = ((boxes[:, 2:] - boxes[:, :2]) > smallest).all(1)
        scores = scores * large
        order = torch.where(large, order, torch.finfo(order.dtype).min)
    # As mmdet does: boxes of other groups lie elsewhere.
    apart = boxes + groups[:, None].to(boxes) * (max(shape) + 1)
    kept = nms(apart, order, settings.nms.iou_threshold)
    # The row behind the last stands for none.
    kept = torch.cat([kept, kept.new_full((count,), len(boxes))])[:count]
    chosen = torch.cat([scores, scores.new_zeros(1)])[kept]
    exists = chosen > 0
    boxes = torch.cat([boxes, boxes.new_zeros(1, 4)])[kept] * exists[:, None]
    groups = torch.cat([groups, groups.new_full((1,), -1)])[kept]
    return boxes, chosen, torch.where(exists, groups, -1)


def _cut_regions(extractor: Any, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Features of boxes ``(N, K, 4)``, each from the level of its size: ``(N * K, C, h, w)``."""
    count = boxes.shape[1]
    images = torch.arange(len(boxes), device=boxes.device).repeat_interleave(count)
    regions = torch.cat([images[:, None].to(boxes), boxes.flatten(0, 1)], dim=1)
    levels = extractor.map_roi_levels(regions, extractor.num_inputs)
    size = extractor.roi_layers[0].output_size
    cut = boxes.new_zeros(len(regions), extractor.out_channels, *size)
    for level, (layer, maps) in enumerate(zip(extractor.roi_layers, features, strict=False)):
        rows = (levels == level).nonzero()[:, 0]
        cut = cut.index_put(
            (rows,),
            roi_align(
                maps, regions[rows], size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
            ),
        )
    return cut


def _stack(rows: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """Values of each image to batches of values."""
    return [torch.stack(x) for x in zip(*rows, strict=True)]

"""What of a model becomes a graph: from a batch of normalised images to named tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmvmamba.models.backbones.base import BaseBackbone

__all__ = ['DenseHead', 'Network', 'example_images', 'network_of']


class Network(nn.Module):
    """A model as a function of images alone.

    Attributes:
        task: What it does, for the metadata of a file.
        names: Of its outputs.
        decides: Whether it chooses boxes, which not every format can.
        facts: What else its users have to know, for the metadata.
    """

    task: str
    names: tuple[str, ...]
    decides = False

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.facts: dict[str, Any] = {}

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(N, C, H, W)`` to the outputs, as many as ``names``."""
        raise NotImplementedError

    def wanted(self, images: Tensor, got: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What a file should have given: of decisions those that follow from its own numbers, so
        that the last bit of a score does not matter.
        """
        return self(images)


class Backbone(Network):
    """The maps of a backbone."""

    task = 'features'

    def __init__(self, model: BaseBackbone) -> None:
        super().__init__(model)
        self.names = tuple(f'map{i}' for i in range(len(model.out_indices)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps: tuple[Tensor, ...] = self.model(images)
        return maps


class Classifier(Network):
    """The logits of a classifier."""

    task, names = 'classification', ('logits',)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.model(images),)


class Segmentor(Network):
    """The logits of a segmentor at the size of the image, without windows that slide, and the
    class of each pixel.
    """

    task, names = 'segmentation', ('logits', 'labels')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits = self._logits(images)
        return logits, self._labels(logits)

    def wanted(self, images: Tensor, got: Sequence[Tensor]) -> tuple[Tensor, ...]:
        logits, labels = got
        wanted = self._labels(logits)
        if logits.shape[1] > 1 and labels.shape == wanted.shape:
            # Of classes with equal logits any may be chosen.
            chosen = logits.gather(1, labels.long().clamp(0, logits.shape[1] - 1)[:, None])
            wanted = torch.where(chosen[:, 0] == logits.amax(1), labels, wanted)
        return self._logits(images), wanted

    def _logits(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        meta = dict(img_shape=torch.Size((height, width)), ori_shape=(height, width))
        logits: Tensor = self.model.encode_decode(images, [meta])
        return logits

    def _labels(self, logits: Tensor) -> Tensor:
        """The class of each pixel, as mmseg chooses it."""
        if logits.shape[1] > 1:
            return logits.argmax(1)
        return (logits[:, 0].sigmoid() > self.model.decode_head.threshold).long()


class DenseHead(Network):
    """What the dense head of a detector gives: of one stage its own, of two that of proposals."""

    task = 'detection'
    parts = ('scores', 'boxes')

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.head: Any = model.bbox_head if hasattr(model, 'bbox_head') else model.rpn_head
        levels = range(self.head.prior_generator.num_levels)
        self.names = tuple(f'{part}{level}' for part in self.parts for level in levels)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.outputs(self.model.extract_feat(images))

    def outputs(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of scores, then of boxes, from those of the pyramid."""
        scores, boxes = self.head(features)
        return (*scores, *boxes)


def network_of(model: nn.Module) -> Network:
    """What of a model becomes a graph.

    Raises:
        ValueError: It is no model of which that is known.
    """
    if isinstance(model, BaseBackbone):
        return Backbone(model)
    if hasattr(model, 'encode_decode'):
        return Segmentor(model)
    if hasattr(model, 'rpn_head') or hasattr(getattr(model, 'bbox_head', None), 'prior_generator'):
        return DenseHead(model)
    if hasattr(model, 'head') and isinstance(getattr(model, 'backbone', None), BaseBackbone):
        return Classifier(model)
    raise ValueError(
        'a model to export must be a backbone or one of mmvmamba.get_model: a classifier, a '
        f'segmentor, a detector with a dense head; got {type(model).__name__}'
    )


def example_images(batch: int, shape: Sequence[int], channels: int = 3) -> list[Tensor]:
    """Two images of noise and one that is smooth with edges, each as a batch of copies."""
    height, width = shape
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(1, channels, height, width, generator=generator) for _ in range(2)]
    coarse = torch.randn(1, channels, 5, 5, generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    smooth[..., height // 4 : height // 2, width // 3 :] += 1
    return [image.expand(batch, -1, -1, -1).contiguous() for image in (*noise, smooth)]

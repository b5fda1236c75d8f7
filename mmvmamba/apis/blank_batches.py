"""Batches as a training gets them, of blank images and invented labels."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

__all__ = ['blank_batch', 'draw_proposals', 'training_shape']

# Of an image of COCO, rounded up.
OBJECTS = 8
# Of a proposal that meets no object.
SMALL = 4

Maker = Callable[..., Tensor]


def training_shape(cfg: Config) -> tuple[int, int]:
    """Height and width of the largest images that the training data of a config give.

    Raises:
        ValueError: No step of the pipeline says it.
    """
    node = (cfg.get('train_dataloader') or {}).get('dataset', {})
    while 'pipeline' not in node and 'dataset' in node:
        node = node['dataset']
    shape = _size_behind(node.get('pipeline', ()), cfg.get('default_scope') == 'mmdet')
    if shape is None:
        raise ValueError(
            'the steps of the training pipeline must say the size of images, and none does; give '
            '--shape H W'
        )
    return shape


def _size_behind(steps: Sequence[Any], keeps_ratio: bool) -> tuple[int, int] | None:
    """The size of images behind some steps, as the last one that says it has it."""
    for step in reversed(steps):
        branches = step.get('transforms', ())
        if branches:
            lists = [x if isinstance(x, list | tuple) else [x] for x in branches]
            found = [_size_behind(branch, keeps_ratio) for branch in lists]
        else:
            found = list(_sizes(step, keeps_ratio))
        sizes = [size for size in found if size is not None]
        if sizes:
            return max(sizes, key=lambda size: size[0] * size[1])
    return None


def _sizes(step: dict, keeps_ratio: bool) -> Iterator[tuple[int, int]]:
    for name in ('crop_size', 'scale', 'scales'):
        value = step.get(name)
        values = value if name == 'scales' and value else [value]
        for size in values:
            if isinstance(size, int):
                yield size, size
            elif isinstance(size, list | tuple) and all(isinstance(x, int) for x in size):
                if keeps_ratio:
                    # The limits of the short and of the long side, in any order.
                    yield min(size), max(size)
                else:
                    # Scales are (width, height), crops (height, width).
                    height, width = size if name == 'crop_size' else reversed(size)
                    yield height, width


def blank_batch(
    cfg: Config, batch_size: int, shape: tuple[int, int], make: Maker = torch.empty
) -> dict[str, Any]:
    """What the data loader of a training hands over.

    Args:
        cfg: The config of a classifier, detector or segmentor.
        batch_size: Number of images.
        shape: Their height and width.
        make: Makes the images of a shape and a dtype; labels have data in any case.

    Raises:
        ValueError: The task is none of the three.
    """
    samples = {'mmpretrain': _labelled, 'mmdet': _with_objects, 'mmseg': _with_label_map}
    scope = cfg.get('default_scope')
    if scope not in samples:
        raise ValueError(f'default_scope of the config must be one of {list(samples)}, got {scope}')
    images = [make((3, *shape), dtype=torch.uint8) for _ in range(batch_size)]
    inputs = torch.stack(images) if scope == 'mmpretrain' else images
    return dict(inputs=inputs, data_samples=[samples[scope](cfg, shape) for _ in images])


def _labelled(cfg: Config, shape: tuple[int, int]) -> Any:
    from mmpretrain.structures import DataSample

    return DataSample(metainfo=dict(img_shape=shape, ori_shape=shape)).set_gt_label(0)


def _with_label_map(cfg: Config, shape: tuple[int, int]) -> Any:
    from mmseg.structures import SegDataSample

    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=1.0, flip=False)
    sample = SegDataSample(metainfo=meta)
    sample.gt_sem_seg = PixelData(data=torch.zeros((1, *shape), dtype=torch.long))
    return sample


def _with_objects(cfg: Config, shape: tuple[int, int]) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0), flip=False)
    sample = DetDataSample(metainfo=meta)
    sides = [min(shape) / 2 ** (i % 4) for i in range(OBJECTS)]
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0.0, side, side] for side in sides]),
        labels=torch.zeros(OBJECTS, dtype=torch.long),
    )
    # Of a detector without masks, nobody reads them.
    masks = np.zeros((OBJECTS, *shape), np.uint8)
    sample.gt_instances.masks = BitmapMasks(masks, *shape)
    return sample


def draw_proposals(model: nn.Module, samples: Sequence[Any]) -> None:
    """Has a detector of regions go on with drawn boxes instead of those it predicts.

    Half of them lie on objects, so that as many regions are positive as the sampler takes.

    Args:
        model: The detector; only this object is changed. Others are left as they are.
        samples: Data samples of the batch.
    """
    rpn_head: Any = getattr(model, 'rpn_head', None)
    if rpn_head is None:
        return

    def drawn(*args: Any, cfg: dict, **settings: Any) -> list[InstanceData]:
        return [_around(sample.gt_instances.bboxes, cfg['max_per_img']) for sample in samples]

    def as_before(sampled: Sequence[Any], *args: Any) -> list[InstanceData]:
        return [InstanceData(bboxes=result.priors) for result in sampled]

    rpn_head.predict_by_feat = drawn
    head: Any
    for head in model.modules():
        if hasattr(head, 'refine_bboxes'):
            head.refine_bboxes = as_before


def _around(objects: Tensor, count: int) -> InstanceData:
    on_objects = objects[torch.arange(count // 2) % len(objects)]
    beside = objects.new_tensor([[0, 0, SMALL, SMALL]]).expand(count - count // 2, 4)
    bboxes = torch.cat([on_objects, beside])
    return InstanceData(
        bboxes=bboxes, scores=bboxes.new_ones(count), labels=torch.zeros(count, dtype=torch.long)
    )

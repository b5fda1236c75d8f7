from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmvmamba.registry import HOOKS

__all__ = ['PredictionPicturesHook', 'enlarge_instances']


def enlarge_instances(instances: InstanceData, factor: int) -> InstanceData:
    """Scales boxes and masks by a whole number; everything else stays.

    Args:
        instances: Boxes as tensors, masks as tensors or mmdet's mask structures.
        factor: At least 1.
    """
    instances = instances.clone()
    if 'bboxes' in instances:
        boxes = instances.bboxes
        instances.bboxes = getattr(boxes, 'tensor', boxes) * factor
    if 'masks' in instances:
        masks = instances.masks
        if not isinstance(masks, torch.Tensor):
            masks = torch.as_tensor(masks.to_ndarray())
        instances.masks = masks.repeat_interleave(factor, 1).repeat_interleave(factor, 2).bool()
    return instances


@HOOKS.register_module()
class PredictionPicturesHook(Hook):
    """Writes pictures of test predictions, the ground truth on the left where there is one.

    Small images are enlarged so that labels can be read. With several processes the first one draws
    its share.

    Args:
        out_dir: Folder for the pictures.
        score_thr: Instances below this score are not drawn.
        min_side: Images with a shorter side below this are enlarged by a whole factor.
        limit: How many pictures at most; None for all.
    """

    def __init__(
        self, out_dir: str, score_thr: float = 0.3, min_side: int = 400, limit: int | None = None
    ) -> None:
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr
        self.min_side = min_side
        self.limit = limit
        self.count = 0

    def before_test(self, runner: Runner) -> None:
        """Makes the folder."""
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draws the batch."""
        for sample in outputs or ():
            if self.limit is not None and self.count >= self.limit:
                return
            self._draw(runner, sample)
            self.count += 1

    def _draw(self, runner: Runner, sample: BaseDataElement) -> None:
        content = np.frombuffer(get(sample.img_path), np.uint8)
        image = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        factor = max(1, -(-self.min_side // min(image.shape[:2])))
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        path = Path(sample.img_path)
        out_file = self.out_dir / f'{path.stem}.png'
        if 'pred_instances' in sample:
            self._draw_instances(runner, image, sample, factor, out_file)
        elif 'pred_sem_seg' in sample:
            self._draw_segmentation(runner, image, sample, out_file)
        else:
            # Class folders may hold files of the same name.
            out_file = self.out_dir / f'{path.parent.name}_{path.stem}.png'
            runner.visualizer.visualize_cls(
                image,
                sample,
                runner.test_dataloader.dataset.metainfo['classes'],
                out_file=str(out_file),
            )

    def _draw_instances(
        self,
        runner: Runner,
        image: np.ndarray,
        sample: BaseDataElement,
        factor: int,
        out_file: Path,
    ) -> None:
        sample = sample.cpu().clone()
        for name in ('pred_instances', 'gt_instances'):
            if name in sample:
                setattr(sample, name, enlarge_instances(getattr(sample, name), factor))
        runner.visualizer.add_datasample(
            out_file.stem,
            image,
            data_sample=sample,
            pred_score_thr=self.score_thr,
            out_file=str(out_file),
        )

    def _draw_segmentation(
        self, runner: Runner, image: np.ndarray, sample: BaseDataElement, out_file: Path
    ) -> None:
        sample = sample.cpu().clone()
        height, width = image.shape[:2]
        for name in ('pred_sem_seg', 'gt_sem_seg'):
            if name in sample:
                labels = getattr(sample, name).data[0].numpy().astype(np.uint8)
                labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
                setattr(
                    sample, name, PixelData(data=torch.as_tensor(labels[None], dtype=torch.long))
                )
        runner.visualizer.add_datasample(
            out_file.stem, image, data_sample=sample, out_file=str(out_file)
        )

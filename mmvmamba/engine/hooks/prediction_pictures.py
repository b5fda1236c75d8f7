from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from mmvmamba.datasets.errors import ImageError
from mmvmamba.registry import HOOKS
from mmvmamba.visualization.colours import class_colours
from mmvmamba.visualization.panels import draw_classes, enlargement, side_by_side
from mmvmamba.visualization.predictions import OPACITY, draw_instances, draw_regions

__all__ = ['PredictionPicturesHook']


TOP = 5


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
        opacity: Of the colours of a segmentation, 0 to 1.
    """

    def __init__(
        self,
        out_dir: str,
        score_thr: float = 0.5,
        min_side: int = 400,
        limit: int | None = None,
        opacity: float = OPACITY,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr
        self.min_side = min_side
        self.limit = limit
        self.opacity = opacity
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

    def _loader(self, runner: Runner) -> DataLoader:
        return runner.test_dataloader

    def _draw(self, runner: Runner, sample: BaseDataElement) -> None:
        content = np.frombuffer(get(sample.img_path), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        if image is None:
            raise ImageError('the image cannot be decoded', path=sample.img_path)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        picture = self._picture(runner, image, sample.cpu(), enlargement(image, self.min_side))
        path = Path(sample.img_path)
        # Class folders may hold files of the same name.
        name = path.stem if 'pred_score' not in sample else f'{path.parent.name}_{path.stem}'
        out_file = self.out_dir / f'{name}.png'
        cv2.imwrite(str(out_file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _picture(
        self, runner: Runner, image: np.ndarray, sample: BaseDataElement, factor: int
    ) -> np.ndarray:
        dataset: Any = self._loader(runner).dataset
        meta = dataset.metainfo
        classes = meta['classes']
        if 'pred_score' in sample:
            return self._classes(image, sample, classes, factor)
        palette = class_colours(meta.get('palette'), len(classes))
        if 'pred_instances' in sample:
            return self._instances(image, sample, classes, palette, factor)
        return self._regions(image, sample, classes, palette, factor)

    def _classes(
        self, image: np.ndarray, sample: BaseDataElement, classes: Sequence[str], factor: int
    ) -> np.ndarray:
        scores, labels = sample.pred_score.topk(min(TOP, len(sample.pred_score)))
        names = [classes[label] for label in labels.tolist()]
        truth = classes[int(sample.gt_label[0])] if 'gt_label' in sample else None
        return draw_classes(image, names, scores.tolist(), factor, truth)

    def _instances(
        self,
        image: np.ndarray,
        sample: BaseDataElement,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        factor: int,
    ) -> np.ndarray:
        predicted = sample.pred_instances
        parts = {'prediction': predicted[predicted.scores > self.score_thr]}
        if 'gt_instances' in sample:
            parts = {'ground truth': sample.gt_instances, **parts}
        return side_by_side(
            {
                title: draw_instances(image, instances, classes, palette, factor)
                for title, instances in parts.items()
            }
        )

    def _regions(
        self,
        image: np.ndarray,
        sample: BaseDataElement,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        factor: int,
    ) -> np.ndarray:
        titles = {'ground truth': 'gt_sem_seg', 'prediction': 'pred_sem_seg'}
        return side_by_side(
            {
                title: draw_regions(
                    image,
                    sample.get(name).data[0].numpy(),
                    classes,
                    palette,
                    factor,
                    self.opacity,
                )
                for title, name in titles.items()
                if name in sample
            }
        )

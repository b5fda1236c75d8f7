from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmvmamba.datasets.errors import ImageError
from mmvmamba.engine.drawing import draw_instances, draw_regions, enlargement, side_by_side
from mmvmamba.registry import HOOKS

__all__ = ['PredictionPicturesHook']


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
        self, out_dir: str, score_thr: float = 0.5, min_side: int = 400, limit: int | None = None
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
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        if image is None:
            raise ImageError('the image cannot be decoded', path=sample.img_path)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        factor = enlargement(image, self.min_side)
        path = Path(sample.img_path)
        out_file = self.out_dir / f'{path.stem}.png'
        if 'pred_instances' in sample:
            picture = self._instances(runner, image, sample.cpu(), factor)
            cv2.imwrite(str(out_file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            return
        if 'pred_sem_seg' in sample:
            picture = self._regions(runner, image, sample, factor)
            cv2.imwrite(str(out_file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            return
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        # Class folders may hold files of the same name.
        out_file = self.out_dir / f'{path.parent.name}_{path.stem}.png'
        classes = runner.test_dataloader.dataset.metainfo['classes']
        runner.visualizer.visualize_cls(image, sample, classes, out_file=str(out_file))

    def _instances(
        self, runner: Runner, image: np.ndarray, sample: BaseDataElement, factor: int
    ) -> np.ndarray:
        meta = runner.test_dataloader.dataset.metainfo
        classes = meta['classes']
        palette = meta.get('palette') or [(220, 60, 60)] * len(classes)
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
        self, runner: Runner, image: np.ndarray, sample: BaseDataElement, factor: int
    ) -> np.ndarray:
        meta = runner.test_dataloader.dataset.metainfo
        titles = {'ground truth': 'gt_sem_seg', 'prediction': 'pred_sem_seg'}
        return side_by_side(
            {
                title: draw_regions(
                    image,
                    sample.get(name).data[0].cpu().numpy(),
                    meta['classes'],
                    meta['palette'],
                    factor,
                )
                for title, name in titles.items()
                if name in sample
            }
        )

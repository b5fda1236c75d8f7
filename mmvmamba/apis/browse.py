"""What the pipeline of a config feeds the model, as pictures."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import BaseDataElement

from mmvmamba.visualization.colours import class_colours
from mmvmamba.visualization.panels import enlargement, grid_of_pictures
from mmvmamba.visualization.predictions import draw_instances, draw_regions

__all__ = ['draw_samples']

HEIGHT = 300


def draw_samples(config: Config, limit: int = 12) -> np.ndarray:
    """Draws samples from all over the training data behind the whole pipeline.

    Args:
        config: That of a training.
        limit: How many at most.

    Returns:
        RGB, uint8.

    Raises:
        ValueError: The config has no training data, or they are not there.
    """
    if 'train_dataloader' not in config:
        raise ValueError('the config has no train_dataloader: give that of a training')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        try:
            dataset = DATASETS.build(config.train_dataloader.dataset)
        except FileNotFoundError as error:
            raise ValueError(f'the training data are not there: {error}') from error
        preprocessor = config.model.get('data_preprocessor') or config.get('data_preprocessor')
        is_bgr = bool(preprocessor.get('bgr_to_rgb') or preprocessor.get('to_rgb'))
        pictures = {}
        # The first ones are often all of one class.
        for i in sorted({round(place) for place in np.linspace(0, len(dataset) - 1, limit)}):
            title, picture = _draw(dataset[i], dataset.metainfo, is_bgr)
            pictures[f'{i + 1}. {title}'] = picture
    return grid_of_pictures(pictures, HEIGHT)


def _draw(packed: dict, meta: dict, is_bgr: bool) -> tuple[str, np.ndarray]:
    image = packed['inputs'].permute(1, 2, 0).numpy().astype(np.uint8)
    image = np.ascontiguousarray(image[..., ::-1] if is_bgr else image)
    sample: BaseDataElement = packed['data_samples']
    classes: Sequence[str] = meta['classes']
    colours = class_colours(meta.get('palette'), len(classes))
    factor = enlargement(image, HEIGHT)
    if 'gt_label' in sample:
        return classes[int(sample.gt_label[0])], cv2.resize(image, None, fx=factor, fy=factor)
    if 'gt_sem_seg' in sample:
        labels = sample.gt_sem_seg.data[0].numpy()
        return f'{image.shape[0]} x {image.shape[1]}', draw_regions(
            image, labels, classes, colours, factor
        )
    found = sample.gt_instances
    title = f'{len(found)} objects'
    return title, draw_instances(image, found, classes, colours, factor)

"""The hook that draws predictions, on a sample of its own."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmvmamba.engine import PredictionPicturesHook
from mmvmamba.visualization.panels import HEADER

META = dict(classes=('cat', 'dog'), palette=[(255, 0, 0), (0, 255, 0)])
SCORES = torch.tensor([0.9, 0.4])


@pytest.fixture
def sample(tmp_path):
    cv2.imwrite(str(tmp_path / 'image.jpg'), np.full((40, 60, 3), 100, np.uint8))
    boxes = torch.tensor([[5.0, 5, 20, 30], [30, 5, 50, 30]])
    found = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]), scores=SCORES)
    sample = BaseDataElement(metainfo=dict(img_path=str(tmp_path / 'image.jpg')))
    sample.pred_instances = found
    return sample


def picture_of(sample, folder, **settings):
    """The picture, its header cut off."""
    runner = SimpleNamespace(
        visualizer=SimpleNamespace(dataset_meta=META),
        test_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=META)),
    )
    hook = PredictionPicturesHook(str(folder), **settings)
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, outputs=[sample])
    return cv2.imread(str(folder / 'image.png'))


@pytest.mark.parametrize(('min_side', 'factor'), [(400, 10), (100, 3), (40, 1)])
def test_small_images_are_enlarged_by_a_whole_factor(min_side, factor, sample, tmp_path):
    picture = picture_of(sample, tmp_path / 'out', min_side=min_side)
    # A title stands above, and a gap of 4 pixels on the right.
    assert picture.shape == (40 * factor + HEADER, 60 * factor + 4, 3)


def test_only_what_is_above_the_threshold_is_drawn(sample, tmp_path):
    pictures = {
        threshold: picture_of(sample, tmp_path / str(threshold), score_thr=threshold)
        for threshold in (0.3, 0.5, 0.95)
    }
    width = pictures[0.5].shape[1]
    halves = {t: (p[:, : width // 2], p[:, width // 2 :]) for t, p in pictures.items()}

    def drawn(threshold):
        """Whether the left and the right object can be seen."""
        pairs = zip(halves[threshold], halves[0.95], strict=True)
        return [not np.array_equal(half, empty) for half, empty in pairs]

    assert drawn(0.3) == [True, True]
    assert drawn(0.5) == [True, False]


def test_classes_are_drawn_with_the_truth(sample, tmp_path):
    del sample.pred_instances
    sample.pred_score = torch.tensor([0.9, 0.1])
    colours = []
    for truth in (0, 1):
        sample.gt_label = torch.tensor([truth])
        picture_of(sample, tmp_path)
        # The folder's name is part of the file's.
        picture = cv2.imread(str(tmp_path / f'{tmp_path.name}_image.png'))
        colours.append(picture[400 + 35, 300].tolist())
    right, wrong = colours
    assert right[1] > 100 > right[2], 'green'
    assert wrong[2] > 100 > wrong[1], 'red'


def test_regions_are_drawn_with_the_opacity_that_is_asked_for(sample, tmp_path):
    del sample.pred_instances
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 40, 60, dtype=torch.long))
    picture = picture_of(sample, tmp_path / 'out', opacity=1.0, min_side=40)
    assert picture[HEADER + 2, 2].tolist() == [0, 0, 255]

"""mIoU, mDice and mFscore against a confusion matrix counted from the files, in plain NumPy."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from PIL import Image

CLASSES = ('a', 'b', 'c', 'd', 'e')
IGNORED = 255


def random_files(root, values, count=6):
    """Masks of odd sizes with these values, and an image for each."""
    rng = np.random.default_rng(1)
    (root / 'images').mkdir()
    (root / 'masks').mkdir()
    masks = []
    for i in range(count):
        size = tuple(rng.integers(5, 23, 2))
        masks.append(rng.choice(values, size).astype(np.uint8))
        Image.fromarray(masks[-1]).save(root / f'masks/{i}.png')
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / f'images/{i}.jpg')
    return masks


def toolbox_figures(root, predictions, reduce_zero_label):
    """What mmseg's data set, loading and metric make of the files."""
    register_all_modules()
    dataset = BaseSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=CLASSES),
        reduce_zero_label=reduce_zero_label,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )
    metric = IoUMetric(iou_metrics=['mIoU', 'mDice', 'mFscore'])
    metric.dataset_meta = dataset.metainfo
    for i, prediction in enumerate(predictions):
        sample: SegDataSample = dataset[i]['data_samples']
        sample.pred_sem_seg = PixelData(data=torch.as_tensor(prediction[None].astype(np.int64)))
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(predictions))


def plain_figures(masks, predictions, first):
    """The same figures from a confusion matrix; ``first`` is the label of class 0 in the files."""
    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for mask, prediction in zip(masks, predictions, strict=True):
        for truth in range(len(CLASSES)):
            for guess in range(len(CLASSES)):
                matrix[truth, guess] += np.sum((mask == truth + first) & (prediction == guess))
    hit, truth, guess = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid='ignore'):
        figures = dict(
            mIoU=hit / (truth + guess - hit),
            mAcc=hit / truth,
            mDice=2 * hit / (truth + guess),
            mPrecision=hit / guess,
            mRecall=hit / truth,
            # F1, from precision and recall.
            mFscore=2 / (guess / hit + truth / hit),
        )
    means = {name: 100 * np.nanmean(values) for name, values in figures.items()}
    return {**means, 'aAcc': 100 * hit.sum() / matrix.sum()}


@pytest.mark.parametrize(
    ('reduce_zero_label', 'values', 'guesses'),
    [
        (False, [0, 1, 2, 3, 4], 5),
        (False, [0, 1, 2, 3, 4, IGNORED], 5),
        (True, [0, 1, 2, 3, 4, 5], 5),
        (True, [0, 1, 2, 3, 4, 5, IGNORED], 5),
        # Class 4 is neither in the files nor predicted: it counts for nothing.
        (False, [0, 1, 2, 3, IGNORED], 4),
        (True, [0, 1, 2, 3, 4], 4),
    ],
    ids=['plain', 'ignored', 'reduced', 'reduced and ignored', 'absent', 'absent and reduced'],
)
def test_figures_equal_those_of_a_confusion_matrix(reduce_zero_label, values, guesses, tmp_path):
    masks = random_files(tmp_path, values)
    rng = np.random.default_rng(2)
    predictions = []
    for mask in masks:
        # Right in about half of the places, so that no figure is near zero.
        truth = (mask - int(reduce_zero_label)).astype(np.uint8)
        right = (rng.random(mask.shape) < 0.5) & (truth < guesses)
        predictions.append(np.where(right, truth, rng.integers(0, guesses, mask.shape)))
    got = toolbox_figures(tmp_path, predictions, reduce_zero_label)
    want = plain_figures(masks, predictions, int(reduce_zero_label))
    assert got.keys() == want.keys()
    for name, value in want.items():
        # The metric rounds to two digits.
        assert got[name] == pytest.approx(value, abs=0.0051), name


def test_a_class_that_is_predicted_but_absent_counts_as_zero(tmp_path):
    masks = random_files(tmp_path, [0, 1, 2, 3])
    predictions = [np.where(mask == 3, 4, mask) for mask in masks]
    assert toolbox_figures(tmp_path, predictions, False)['mIoU'] == pytest.approx(60)

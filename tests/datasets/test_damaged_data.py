"""Damaged annotations, masks and images: documented errors, the same in training and in checks."""

import copy
import io
import json
import random
import shutil
from functools import partial

# A child process imports this module alone; ours provides what mmdet needs of mmcv.
import mmvmamba  # noqa: F401

# isort: split
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mmvmamba.datasets.checked_loading import check_loading
from mmvmamba.datasets.checks.detection import check_detection
from mmvmamba.datasets.checks.segmentation import check_segmentation
from mmvmamba.datasets.coco import CocoDataset
from mmvmamba.datasets.errors import DataError
from mmvmamba.datasets.label_maps import label_problem, labels_in
from mmvmamba.datasets.toy import DET_CATEGORIES, make_toy_data
from mmvmamba.engine.metrics import CocoMetric
from tests.fuzz import mutation_count, run_cases, run_mutated

CLASSES = tuple(DET_CATEGORIES)
# What people, other tools and attackers write in the place of a number, a text or a list.
VALUES = (
    *(0, 1, -1, 2, 0.5, -0.0, 1e9, -1e9, 1e30, 1e308, 10**9, 10**18, 10**400, 2**31, 2**63),
    *(float('nan'), float('inf'), -float('inf'), True, False, None),
    *('', '0', 'x', '\0', 'é' * 9, '1' * 5000, 'ooo', 'PPPP', '../x', []),
    *({}, [[]], [None], [[1, 1, 5, 5]], [[1e9] * 6], [[-1e9, 1e9] * 4], [[0, 0, 1e3, 1e3] * 9999]),
    *(dict(size=[10**9, 10**9], counts=[10**18]), dict(size=[1, 1], counts='1'), dict(counts=[])),
)


def build_coco(path, folder):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return CocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=str(folder)),
            metainfo=dict(classes=CLASSES),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='PackDetInputs'),
            ],
            # Serialising collects garbage, which takes most of the time of a small set.
            serialize_data=False,
            lazy_init=True,
        )


def train_detection(path, folder):
    dataset = build_coco(path, folder)
    dataset.full_init()
    for i in range(len(dataset)):
        masks = dataset[i]['data_samples'].gt_instances.masks
        masks.resize((40, 60)).to_ndarray()


def evaluate_detection(path):
    metric = CocoMetric(str(path), metric=['bbox', 'segm', 'proposal_fast'], strict=True)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.compute_metrics([])


def read_coco(folder, path):
    """Checks, evaluates with and trains on an annotation file; all must say the same of it."""
    found = check_detection(build_coco(path, folder), len(CLASSES))
    faults = [str(fault) for fault in found if not fault.is_note]
    try:
        evaluate_detection(path)
    except DataError as error:
        # It does not need the images, and is content with less.
        assert str(error) in faults, f'evaluation says {error}, the check {faults}'
    try:
        train_detection(path, folder)
    except DataError as error:
        _expect(str(error), faults)
        raise
    assert not faults, faults


def _expect(message, faults):
    """Errors of a file of annotations begin with its name, those of other files end with it."""
    assert faults, f'only training says: {message}'
    path, _, problem = faults[0].partition(': ')
    said = message.startswith(faults[0]) or f'{problem} (path: {path})' in message
    assert said, f'training says {message!r}, the check {faults[0]!r}'


def spoil(content, seed):
    """Replaces, removes or repeats one to three parts of parsed JSON, at any depth."""
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        node = content
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw.choice(keys)
            is_inner = isinstance(node[key], dict | list) and len(node[key])
            if is_inner and draw.random() < 0.85:
                node = node[key]
                continue
            action = draw.random()
            if action < 0.15:
                del node[key]
            elif action < 0.25 and isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            else:
                # A copy: later replacements would reach into the list of values, and into itself.
                node[key] = copy.deepcopy(draw.choice(VALUES))
            break
    return content


def read_spoilt_coco(folder, path, text, seed):
    path.write_text(json.dumps(spoil(json.loads(text), seed)))
    read_coco(folder, path)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    root, _ = make_toy_data(tmp_path_factory.mktemp('toy'), 'coco', num_train=2, num_val=1)
    return root / 'train2017', (root / 'annotations/instances_train2017.json').read_text()


def test_some_spoilt_annotations_are_judged_alike(coco, tmp_path):
    refused = 0
    for seed in range(30):
        try:
            read_spoilt_coco(coco[0], tmp_path / 'a.json', coco[1], seed)
        except DataError:
            refused += 1
    assert 8 <= refused < 30


@pytest.mark.slow
def test_damaged_annotations_are_refused_alike_or_read(coco):
    report = run_mutated(partial(read_coco, coco[0]), coco[1].encode(), 'a.json', (DataError,))
    assert not report.failures, report


@pytest.mark.slow
def test_spoilt_annotations_are_refused_alike_or_read(coco, tmp_path):
    read = partial(read_spoilt_coco, coco[0], tmp_path / 'a.json', coco[1])
    report = run_cases(read, range(mutation_count()), (DataError,))
    assert not report.failures, report
    assert min(report.counts['refused'], report.counts['returned']) > mutation_count() // 20


def build_segmentation(root):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return BaseSegDataset(
            data_root=str(root),
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            metainfo=dict(classes=('a', 'b', 'c')),
            reduce_zero_label=True,
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
            # Serialising collects garbage, which takes most of the time of a small set.
            serialize_data=False,
            lazy_init=True,
        )


def read_segmentation(image, mask, kind, path):
    """Trains on and checks a pair of files, one of which is damaged."""
    root = path.parent / 'data'
    shutil.rmtree(root, ignore_errors=True)
    for name, source in (('images/x.jpg', image), ('masks/x.png', mask)):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(path.read_bytes() if kind in name else source)
    faults = [str(fault) for fault in check_segmentation(build_segmentation(root), 3)]
    dataset = build_segmentation(root)
    dataset.full_init()
    check_loading(dataset)
    try:
        sample = dataset[0]
        problem = label_problem(labels_in(sample['gt_seg_map']), 3, 255, reduce_zero_label=True)
        if problem:
            raise DataError(problem, path=sample['seg_map_path'])
    except DataError as error:
        _expect(str(error), faults)
        raise
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope='module')
def pair():
    rng = np.random.default_rng(0)
    image, mask = io.BytesIO(), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(image, 'JPEG')
    Image.fromarray(rng.choice([0, 1, 2, 3, 255], (40, 60)).astype(np.uint8)).save(mask, 'PNG')
    return image.getvalue(), mask.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['images', 'masks'])
def test_damaged_images_and_masks_are_refused_alike_or_read(kind, pair):
    read = partial(read_segmentation, *pair, kind)
    data = pair[kind == 'masks']
    report = run_mutated(read, data, 'damaged', (DataError,))
    assert not report.failures, report
    assert report.counts['refused'] > mutation_count() // 10

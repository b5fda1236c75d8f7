"""`mmvmamba.CocoMetric` in the place of mmdet's: what that accepts, names, returns and raises."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from pycocotools.coco import COCO

from mmvmamba.datasets.errors import AnnotationError
from mmvmamba.engine.metrics import CocoMetric
from tests.engine.test_coco_metric import (
    CLASSES,
    SIZE,
    by_pycocotools,
    encode,
    random_annotations,
    random_detections,
    run_metric,
    to_sample,
)


@pytest.fixture
def case():
    rng = np.random.default_rng(7)
    annotations = random_annotations(rng)
    return annotations, random_detections(rng, annotations)


def by_mmdet(annotations, detections, tmp_path, **settings):
    mmdet = pytest.importorskip('mmdet.evaluation.metrics')
    path = tmp_path / 'for_mmdet.json'
    path.write_text(json.dumps(annotations))
    with contextlib.redirect_stdout(io.StringIO()):
        metric = mmdet.CocoMetric(ann_file=str(path), **settings)
        metric.dataset_meta = dict(classes=CLASSES)
        for image in annotations['images']:
            metric.process({}, [to_sample(image, detections)])
        return metric.evaluate(len(annotations['images']))


def small_masks(annotations, detections):
    """Masks of another size than their images, the found ones alike."""
    for row in (*annotations['annotations'][1:], *detections):
        row['segmentation'] = encode(row['bbox'], SIZE // 2)


def odd_sizes(annotations, detections):
    """The same for the annotations alone, which then overlap with nothing."""
    for row in annotations['annotations'][1:]:  # the first has no area
        row['segmentation'] = encode(row['bbox'], SIZE // 2)


def other_order(annotations, detections):
    annotations['categories'] = annotations['categories'][::-1]


def far_boxes(annotations, detections):
    for row in annotations['annotations'][:3]:
        row['bbox'][0] += 5 * SIZE


def far_polygons(annotations, detections):
    for row in annotations['annotations']:
        if isinstance(row['segmentation'], list):
            row['segmentation'] = [[x + 3 * SIZE for x in row['segmentation'][0]]]


@pytest.mark.parametrize('change', [small_masks, odd_sizes, other_order, far_boxes, far_polygons])
def test_odd_annotations_are_counted_as_by_mmdet_unless_strict(change, case, tmp_path):
    change(*case)
    settings = dict(metric=['bbox', 'segm'])
    expected = by_mmdet(*case, tmp_path, **settings)
    assert run_metric(*case, tmp_path, **settings) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(AnnotationError):
        run_metric(*case, tmp_path, **settings, strict=True)


@pytest.mark.parametrize(
    'size', [[10**6, 10**6], [0, 5], [5, -5], [5], 'x', [5.5, 4], None], ids=str
)
def test_masks_that_would_be_read_beyond_their_end_are_refused_always(size, case, tmp_path):
    case[0]['annotations'][3]['segmentation'] = dict(size=size, counts=[10, 10, 5])
    with pytest.raises(AnnotationError, match=r'annotation 4 must have'):
        run_metric(*case, tmp_path)


def test_polygons_far_outside_have_a_longest_outline(case, tmp_path):
    case[0]['annotations'][3]['segmentation'] = [[-1e8, -1e8, -1, -1, -1e8, -1]]
    with pytest.raises(AnnotationError, match='annotation 4 has a polygon with an outline'):
        run_metric(*case, tmp_path)


def test_our_configs_are_strict():
    cfg = Config.fromfile('configs/_base_/datasets/coco_detection.py')
    assert cfg.val_evaluator.strict
    assert cfg.test_evaluator.strict


@pytest.mark.parametrize(
    'settings,kind,message',
    [
        (dict(metric='box'), KeyError, '^metric should be one of'),
        (dict(metric_items=['AP']), KeyError, '^metric item "AP" is not supported'),
        (dict(format_only=True), AssertionError, '^format_only needs outfile_prefix'),
    ],
)
def test_errors_are_of_the_kinds_of_mmdet(settings, kind, message):
    with pytest.raises(kind, match=message) as caught:
        CocoMetric(**settings)
    assert isinstance(caught.value, ValueError)


def test_settings_stay_as_they_were_given():
    metric = CocoMetric(iou_thrs=[0.3, 0.6], proposal_nums=(1000, 100, 300))
    assert metric.iou_thrs == [0.3, 0.6]
    assert metric.proposal_nums == [1000, 100, 300]


def test_numbers_in_another_order_and_one_threshold_are_counted(case, tmp_path):
    sorted_numbers = run_metric(*case, tmp_path, iou_thrs=[0.5], metric_items=['mAP', 'AR@1000'])
    other = run_metric(
        *case,
        tmp_path,
        iou_thrs=0.5,
        metric_items=['mAP', 'AR@1000'],
        proposal_nums=(1000, 100, 300),
    )
    assert other == sorted_numbers
    assert other['coco/bbox_mAP'] > 0


def test_two_numbers_of_fast_proposals(case, tmp_path):
    settings = dict(metric='proposal_fast', proposal_nums=(9, 1))
    figures = run_metric(*case, tmp_path, **settings)
    assert list(figures) == ['coco/AR@9', 'coco/AR@1']
    assert figures['coco/AR@9'] > figures['coco/AR@1'] > 0


def test_use_mp_eval_counts_at_the_last_number(case, tmp_path):
    annotations, detections = case
    for row in detections:
        # Through float32, as a model's boxes go.
        x, y, w, h = row['bbox']
        corners = np.array([x, y, x + w, y + h]).astype(np.float32).astype(float)
        row['bbox'] = [*corners[:2], *(corners[2:] - corners[:2])]
    precision = by_pycocotools(annotations, detections, 'bbox', (1, 2, 3)).eval['precision']
    precision = precision[:, :, :, 0, -1]
    figures = run_metric(annotations, detections, tmp_path, use_mp_eval=True, proposal_nums=[3])
    assert figures['coco/bbox_mAP'] == round(precision[precision > -1].mean(), 3) > 0
    assert len(figures) == 6
    recalls = run_metric(
        annotations,
        detections,
        tmp_path,
        use_mp_eval=True,
        proposal_nums=[3],
        metric_items=['AR@3', 'AR_l@3'],
    )
    assert recalls['coco/bbox_AR@3'] > 0


def test_precisions_of_masks_alone_have_the_names_of_mmdet(case, tmp_path):
    settings = dict(metric='segm', classwise=True)
    expected = by_mmdet(*case, tmp_path, **settings)
    figures = run_metric(*case, tmp_path, **settings)
    # mmdet names them in the order of the file, and counts them in that of the ids.
    assert figures.keys() == expected.keys()
    values = [[run[f'coco/{name}_precision'] for name in CLASSES] for run in (figures, expected)]
    assert sorted(values[0]) == pytest.approx(sorted(values[1]), abs=1e-9)


def test_annotations_of_the_samples_are_written(case, tmp_path):
    annotations, detections = copy.deepcopy(case)
    prefix = tmp_path / 'result'
    metric = CocoMetric(metric=['bbox', 'segm'], outfile_prefix=str(prefix))
    metric.dataset_meta = dict(classes=('thing',))
    sample = to_sample(annotations['images'][1], detections)
    sample['pred_instances']['labels'] *= 0
    mask = encode([10, 10, 50, 60], 100)
    sample['instances'] = [dict(bbox=[10, 10, 60, 70], bbox_label=0, ignore_flag=0, mask=mask)]
    metric.process({}, [sample])
    metric.evaluate(1)
    with contextlib.redirect_stdout(io.StringIO()):
        written = COCO(f'{prefix}.gt.json')
    assert list(written.imgs) == [annotations['images'][1]['id']]
    assert written.anns[1]['bbox'] == [10, 10, 50, 60]
    assert written.anns[1]['segmentation'] == mask


def test_an_empty_prediction_may_have_labels_of_any_type(case, tmp_path):
    empty = torch.from_numpy(np.array([]))
    image = case[0]['images'][1]
    metric = CocoMetric()
    metric.annotations, metric.dataset_meta = case[0], dict(classes=CLASSES)
    predicted = dict(bboxes=empty.reshape(0, 4), scores=empty, labels=empty)
    metric.process({}, [dict(pred_instances=predicted, img_id=image['id'], ori_shape=(SIZE, SIZE))])
    assert metric.evaluate(1)['coco/bbox_mAP'] == 0

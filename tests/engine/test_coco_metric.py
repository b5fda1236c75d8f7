"""Our COCO figures against pycocotools, on random annotations and detections."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvmamba.datasets.coco_annotations import check_annotations
from mmvmamba.engine.metrics import CocoMetric
from mmvmamba.engine.metrics.coco_figures import FIGURES, count, twelve_figures
from mmvmamba.registry import METRICS

CLASSES = ('cat', 'dog', 'bird')
# Neither ascending nor without gaps, as categories of real files are.
CATEGORY_IDS = (7, 2, 90)
SIZE = 200  # pixels, so that all of COCO's three ranges of area occur
THRESHOLDS = np.linspace(0.5, 0.95, 10)
NUMBERS = (100, 300, 1000)


def encode(box, size=SIZE):
    """Run lengths of an ellipse in a box of x, y, width, height."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    x, y, w, h = box
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    run_lengths = mask_utils.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {**run_lengths, 'counts': run_lengths['counts'].decode()}


def random_box(rng):
    low, high = rng.choice([[4, 30], [30, 90], [90, 140]])
    w, h = rng.uniform(low, high, 2)
    return [*rng.uniform(0, (SIZE - w, SIZE - h)), w, h]


def random_annotations(rng, images=14):
    """Images with crowds, polygons, run lengths and boxes without area; every fifth is empty."""
    records = []
    for image in range(images):
        for _ in range(0 if image % 5 == 0 else rng.integers(1, 7)):
            box, crowd = random_box(rng), int(rng.random() < 0.15)
            x, y, w, h = box
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            records.append(
                dict(
                    id=len(records) + 1,
                    image_id=image * 3 + 1,
                    category_id=int(rng.choice(CATEGORY_IDS)),
                    bbox=box,
                    area=w * h,
                    iscrowd=crowd,
                    segmentation=encode(box) if crowd or rng.random() < 0.5 else polygon,
                )
            )
    records[0].update(bbox=[5, 5, 0, 10], area=0)
    return dict(
        images=[dict(id=i * 3 + 1, width=SIZE, height=SIZE, file_name='') for i in range(images)],
        annotations=records,
        categories=[dict(id=i, name=n) for i, n in zip(CATEGORY_IDS, CLASSES, strict=True)],
    )


def random_detections(rng, annotations, extra=4):
    """Annotations moved a little, some found twice or named wrongly, and boxes out of nothing."""
    rows = []
    for item in annotations['annotations']:
        for _ in range(rng.integers(0, 3)):
            box = np.array(item['bbox']) + rng.normal(0, 4, 4)
            named = rng.random() < 0.8
            rows.append((item['image_id'], item['category_id'] if named else 2, box))
    for image in annotations['images'][::2]:
        for _ in range(extra):
            rows.append((image['id'], int(rng.choice(CATEGORY_IDS)), np.array(random_box(rng))))
    detections = []
    for image, category, box in rows:
        box[2:] = box[2:].clip(min=1)
        # Few different scores, so that ties occur.
        score = float(rng.integers(1, 40)) / 40
        detections.append(
            dict(
                image_id=image,
                category_id=category,
                bbox=box.tolist(),
                score=score,
                segmentation=encode(box),
            )
        )
    return detections


def by_pycocotools(annotations, detections, iou_type, numbers=NUMBERS, use_categories=1):
    detections = copy.deepcopy(detections)
    if iou_type == 'segm':
        for row in detections:
            row.pop('bbox')
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), iou_type)
        evaluation.params.maxDets = list(numbers)
        evaluation.params.useCats = use_categories
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def to_sample(image, detections):
    """The sample that mmdet hands to a metric."""
    own = [row for row in detections if row['image_id'] == image['id']]
    boxes = torch.tensor([row['bbox'] for row in own], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return dict(
        img_id=image['id'],
        ori_shape=(SIZE, SIZE),
        pred_instances=dict(
            bboxes=boxes.float(),
            scores=torch.tensor([row['score'] for row in own]),
            labels=torch.tensor(
                [CATEGORY_IDS.index(row['category_id']) for row in own], dtype=torch.long
            ),
            masks=[row['segmentation'] for row in own],
        ),
    )


def run_metric(annotations, detections, tmp_path, **settings):
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(annotations))
    metric = CocoMetric(ann_file=str(path), **settings)
    metric.dataset_meta = dict(classes=CLASSES)
    for image in annotations['images']:
        metric.process({}, [to_sample(image, detections)])
    return metric.evaluate(len(annotations['images']))


@pytest.fixture(scope='module', params=[0, 1, 2], ids='seed{}'.format)
def case(request):
    rng = np.random.default_rng(request.param)
    annotations = random_annotations(rng)
    return annotations, random_detections(rng, annotations)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('numbers', [NUMBERS, (1, 10, 100), (1, 2, 3)], ids=str)
def test_twelve_figures_are_those_of_pycocotools(case, iou_type, numbers):
    annotations, detections = case
    expected = by_pycocotools(annotations, detections, iou_type, numbers).stats
    rows = copy.deepcopy(detections)
    if iou_type == 'segm':
        for row in rows:
            row.pop('bbox')
    ids = sorted(CATEGORY_IDS)
    counts = count(copy.deepcopy(annotations), rows, iou_type, ids, THRESHOLDS, numbers, True)
    got = twelve_figures(counts, THRESHOLDS, numbers)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert expected[1] > 0.05


def test_precision_and_recall_of_every_cell_are_those_of_pycocotools(case):
    annotations, detections = case
    expected = by_pycocotools(annotations, detections, 'bbox').eval
    ids = sorted(CATEGORY_IDS)
    counts = count(
        copy.deepcopy(annotations),
        copy.deepcopy(detections),
        'bbox',
        ids,
        THRESHOLDS,
        NUMBERS,
        True,
    )
    for key in ('precision', 'recall'):
        np.testing.assert_allclose(counts[key], expected[key], rtol=0, atol=1e-12)


def test_metric_returns_boxes_and_masks_as_pycocotools_counts_them(case, tmp_path):
    annotations, detections = case
    # Through float32, as a model's boxes go.
    for row in detections:
        x, y, w, h = row['bbox']
        corners = np.array([x, y, x + w, y + h]).astype(np.float32).astype(float)
        row['bbox'] = [*corners[:2], *(corners[2:] - corners[:2])]
        row['score'] = float(np.float32(row['score']))
    figures = run_metric(annotations, detections, tmp_path, metric=['bbox', 'segm'])
    for kind in ('bbox', 'segm'):
        stats = by_pycocotools(annotations, detections, kind).stats
        for name, value in zip(FIGURES[:6], stats, strict=False):
            assert figures[f'coco/{kind}_{name}'] == round(value, 3)
    assert len(figures) == 12


@pytest.mark.parametrize('overlaps', [{}, dict(iou_thrs=np.array([0.5, 0.6, 0.75]))], ids=str)
def test_metric_is_the_one_of_mmdet(case, overlaps, tmp_path):
    mmdet = pytest.importorskip('mmdet.evaluation.metrics')
    annotations, detections = case
    settings = dict(metric=['bbox', 'segm', 'proposal'], **overlaps)
    ours = run_metric(annotations, detections, tmp_path, **settings)
    theirs = mmdet.CocoMetric(ann_file=str(tmp_path / 'annotations.json'), **settings)
    theirs.dataset_meta = dict(classes=CLASSES)
    for image in annotations['images']:
        theirs.process({}, [to_sample(image, detections)])
    with contextlib.redirect_stdout(io.StringIO()):
        expected = theirs.evaluate(len(annotations['images']))
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        assert ours[key] == pytest.approx(value, abs=1e-9), key


def test_categories_are_sorted_on_request(case, tmp_path):
    annotations, detections = case
    want = run_metric(annotations, detections, tmp_path, classwise=True)
    other_order = dict(annotations, categories=annotations['categories'][::-1])
    with pytest.raises(ValueError, match='categories'):
        run_metric(other_order, detections, tmp_path, strict=True)
    order = np.argsort(CATEGORY_IDS)
    metric = CocoMetric(tmp_path / 'annotations.json', sort_categories=True, classwise=True)
    metric.dataset_meta = dict(classes=[CLASSES[i] for i in order])
    for image in annotations['images']:
        sample = to_sample(image, detections)
        found = sample['pred_instances']
        found['labels'] = torch.from_numpy(np.argsort(order))[found['labels']]
        metric.process({}, [sample])
    assert metric.evaluate(len(annotations['images'])) == want


def test_annotations_are_read_and_results_gathered_as_asked(case, tmp_path):
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(case[0]))
    assert CocoMetric(str(path), collect_device='gpu').collect_device == 'gpu'
    with pytest.raises(KeyError, match='nosuch'):
        CocoMetric(str(path), backend_args=dict(backend='nosuch'))


def test_proposals_match_whatever_their_class(case, tmp_path):
    annotations, detections = case
    figures = run_metric(annotations, detections, tmp_path, metric='proposal')
    stats = by_pycocotools(annotations, detections, 'bbox', use_categories=0).stats
    assert figures['coco/AR@100'] == pytest.approx(stats[6], abs=6e-4)
    assert set(figures) == {f'coco/{name}' for name in FIGURES[6:]}


def test_fast_recalls_are_those_of_mmdet(case, tmp_path):
    recall = pytest.importorskip('mmdet.evaluation.functional.recall')
    annotations, detections = case
    metric = ['proposal_fast']
    figures = run_metric(annotations, detections, tmp_path, metric=metric, proposal_nums=(1, 3, 9))
    overlaps = np.empty(len(annotations['images']), dtype=object)
    for number, image in enumerate(annotations['images']):
        boxes = to_sample(image, detections)['pred_instances']['bboxes'].numpy()
        truth = np.array(
            [
                item['bbox']
                for item in annotations['annotations']
                if item['image_id'] == image['id'] and not item['iscrowd']
            ],
            dtype=np.float32,
        ).reshape(-1, 4)
        truth[:, 2:] += truth[:, :2]
        overlaps[number] = recall.bbox_overlaps(truth, boxes[:9])
    expected = recall._recalls(overlaps, np.array([1, 3, 9]), THRESHOLDS).mean(axis=1)
    got = [figures[f'coco/AR@{number}'] for number in (1, 3, 9)]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got[2] > got[0] > 0


def test_classwise_precisions(case, tmp_path):
    annotations, detections = case
    figures = run_metric(annotations, detections, tmp_path, classwise=True, metric=['bbox', 'segm'])
    for kind, start in (('bbox', ''), ('segm', 'segm_')):
        precision = by_pycocotools(annotations, detections, kind).eval['precision']
        for number, category in enumerate(sorted(CATEGORY_IDS)):
            values = precision[:, :, number, 0, -1]
            name = CLASSES[CATEGORY_IDS.index(category)]
            expected = values[values > -1].mean()
            assert figures[f'coco/{start}{name}_precision'] == pytest.approx(expected, abs=2e-3)


def test_no_detections_at_all_count_as_nothing_found(case, tmp_path):
    figures = run_metric(case[0], [], tmp_path, metric=['bbox', 'segm'])
    assert figures['coco/bbox_mAP'] == 0
    assert figures['coco/segm_mAP'] == 0


def test_an_image_with_annotations_and_no_detections_lowers_recall(tmp_path):
    rng = np.random.default_rng(5)
    annotations = random_annotations(rng)
    perfect = [
        dict(
            image_id=item['image_id'],
            category_id=item['category_id'],
            bbox=item['bbox'],
            score=1.0,
            segmentation=encode(item['bbox']),
        )
        for item in annotations['annotations']
        if not item['iscrowd'] and item['area'] > 0
    ]
    annotations['annotations'] = [a for a in annotations['annotations'] if a['area'] > 0]
    settings = dict(metric='bbox', metric_items=['mAP', 'AR@100'])
    assert run_metric(annotations, perfect, tmp_path, **settings)['coco/bbox_AR@100'] == 1
    image = perfect[0]['image_id']
    fewer = [row for row in perfect if row['image_id'] != image]
    assert run_metric(annotations, fewer, tmp_path, **settings)['coco/bbox_AR@100'] < 1


def test_no_annotations_give_minus_one(case, tmp_path):
    annotations, detections = case
    figures = run_metric({**annotations, 'annotations': []}, detections, tmp_path)
    assert figures['coco/bbox_mAP'] == -1


def test_annotations_of_the_samples_are_used_without_a_file(case, tmp_path):
    annotations, detections = case
    metric = CocoMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    for image in annotations['images']:
        sample = to_sample(image, detections)
        sample['instances'] = [
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=CATEGORY_IDS.index(item['category_id']),
                ignore_flag=item['iscrowd'],
            )
            for item in annotations['annotations']
            if item['image_id'] == image['id']
            for x, y, w, h in [item['bbox']]
        ]
        metric.process({}, [sample])
    got = metric.evaluate(len(annotations['images']))
    expected = run_metric(annotations, detections, tmp_path)
    assert got == pytest.approx(expected)


@pytest.mark.parametrize('masks', [False, True])
def test_format_only_writes_files_that_pycocotools_reads(masks, case, tmp_path):
    annotations, detections = case
    prefix = str(tmp_path / 'out' / 'result')
    metric = CocoMetric(format_only=True, outfile_prefix=prefix, ann_file=None)
    metric.annotations = annotations
    metric.dataset_meta = dict(classes=CLASSES)
    for image in annotations['images']:
        sample = to_sample(image, detections)
        if masks:
            bits = [mask_utils.decode(mask) for mask in sample['pred_instances']['masks']]
            bits = np.array(bits).reshape(-1, SIZE, SIZE).astype(bool)
            sample['pred_instances']['masks'] = torch.tensor(bits)
        else:
            del sample['pred_instances']['masks']
        metric.process({}, [sample])
    assert metric.evaluate(len(annotations['images'])) == {}
    kinds = ['bbox', 'segm'] if masks else ['bbox']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        f'result.{kind}.json' for kind in kinds
    ]
    for kind in kinds:
        rows = json.loads((tmp_path / 'out' / f'result.{kind}.json').read_text())
        got = by_pycocotools(annotations, rows, kind).stats
        expected = by_pycocotools(annotations, detections, kind).stats
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_config_type_is_found_under_any_scope(tmp_path):
    init_default_scope('mmdet')
    assert isinstance(METRICS.build(dict(type='mmvmamba.CocoMetric')), CocoMetric)


@pytest.mark.parametrize('key', ['bboxes', 'scores'])
def test_predictions_that_are_not_finite_are_refused(key, case):
    annotations, detections = case
    image = annotations['images'][2]
    sample = to_sample(image, detections)
    sample['pred_instances'][key][0] = float('nan')
    message = rf'^1 of the .* for image {image["id"]} have {key} .*not finite'
    with pytest.raises(ValueError, match=message):
        CocoMetric().process({}, [sample])


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(metric='box'), "metric should be one of .*got 'box'"),
        (
            dict(metric_items=['AP']),
            r'^metric item "AP" is not supported; .*one of .*mAP',
        ),
        (dict(format_only=True), 'format_only needs outfile_prefix'),
        (dict(proposal_nums=(100,)), 'proposal_nums must be three numbers'),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CocoMetric(**settings)


def test_masks_are_demanded_for_their_metric(case, tmp_path):
    annotations, detections = case
    sample = to_sample(annotations['images'][0], detections)
    del sample['pred_instances']['masks']
    metric = CocoMetric(metric='segm')
    metric.annotations, metric.dataset_meta = annotations, dict(classes=CLASSES)
    metric.process({}, [sample])
    with pytest.raises(ValueError, match="no masks, which the metric 'segm' needs"):
        metric.evaluate(1)


def spoil(annotations, **changes):
    annotations = copy.deepcopy(annotations)
    annotations['annotations'][3].update(changes)
    return annotations


@pytest.mark.parametrize(
    'changes,message',
    [
        (dict(image_id=999), 'annotation 4 belongs to image 999'),
        (dict(category_id=999), 'annotation 4 has category 999'),
        (dict(id=1), 'annotation id 1 occurs 2 times'),
        (dict(bbox=[1, 2, float('nan'), 4]), 'annotation 4 must have a box'),
        (dict(bbox=[1, 2, -3, 4]), 'annotation 4 must have a box'),
        (dict(bbox=[1, 2, 3]), 'annotation 4 must have a box'),
    ],
)
def test_bad_annotations_name_file_and_record(changes, message, case):
    with pytest.raises(ValueError, match=f'^file.json: {message}'):
        check_annotations(spoil(case[0], **changes), 'file.json')


def test_boxes_without_area_or_over_the_border_are_fine(case):
    check_annotations(spoil(case[0], bbox=[-5, 190, 40, 0]), 'file.json')


def test_missing_fields_are_named(case):
    annotations = copy.deepcopy(case[0])
    del annotations['annotations'][3]['iscrowd']
    with pytest.raises(ValueError, match=r"annotation 4 lacks \['iscrowd'\]"):
        check_annotations(annotations, 'file.json')
    with pytest.raises(ValueError, match=r"file.json: the file has no list 'images'"):
        check_annotations({}, 'file.json')


def test_classes_that_the_file_lacks_are_named(case):
    with pytest.raises(ValueError, match=r"file.json: the file lacks the classes \['cow'\]"):
        check_annotations(case[0], 'file.json', ('cat', 'cow'))

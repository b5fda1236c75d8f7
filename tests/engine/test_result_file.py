"""The file of a test's predictions."""

import json

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmvmamba.engine import ResultFile


def written(path, *samples):
    metric = ResultFile(str(path))
    metric.dataset_meta = dict(classes=('disc', 'square', 'star'))
    metric.process({}, [sample.to_dict() for sample in samples])
    assert metric.evaluate(len(samples)) == {}
    return json.loads(path.read_text())


def test_a_classification(tmp_path):
    sample = DataSample(metainfo=dict(img_path='lmdb://a/b.png')).set_gt_label(2)
    sample.set_pred_score(torch.tensor([0.2, 0.5, 0.3]))
    assert written(tmp_path / 'new' / 'found.json', sample) == dict(
        task='classification',
        classes=['disc', 'square', 'star'],
        images=[dict(image='lmdb://a/b.png', truth=2, labels=[1, 2, 0], scores=[0.5, 0.3, 0.2])],
    )


def test_a_detection(tmp_path):
    sample = DetDataSample(metainfo=dict(img_path='a.png'))
    box = torch.tensor([[1.0, 2.0, 30.0, 40.123]])
    sample.gt_instances = InstanceData(bboxes=HorizontalBoxes(box), labels=torch.tensor([1]))
    sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(box), labels=torch.tensor([0]))
    scores = torch.tensor([0.25])
    sample.pred_instances = InstanceData(bboxes=box, labels=torch.tensor([0]), scores=scores)
    (image,) = written(tmp_path / 'found.json', sample)['images']
    corners = [1.0, 2.0, 30.0, 40.12]
    assert image == dict(
        image='a.png', truth=[[1, *corners]], ignored=[corners], found=[[0, *corners, 0.25]]
    )


@pytest.mark.parametrize(
    ('sample', 'message'),
    [
        (SegDataSample(), 'of classifiers and detectors alone'),
        (DataSample().set_pred_score(torch.ones(3)), 'the test data have no labels'),
        (DetDataSample(pred_instances=InstanceData()), 'Put LoadAnnotations into the test pipe'),
    ],
)
def test_what_has_no_truth_is_refused(sample, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        written(tmp_path / 'found.json', sample)
    assert not list(tmp_path.iterdir())

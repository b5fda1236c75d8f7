"""Detectors whole: what the graphs choose is what the models predict."""

from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.structures import DetDataSample
from mmengine.config import Config

import mmvmamba
from mmvmamba.apis.task_models import build_from_config
from mmvmamba.deploy import FORMATS, export
from mmvmamba.deploy.detections import TwoStageDetector, detector_of
from mmvmamba.testing import load_filled

TOY = Path(__file__).parents[2] / 'configs' / 'toy'
SHAPE = (96, 128)
KINDS = ('retinanet', 'maskrcnn')


def detector(kind):
    """A filled detector of few channels, sure enough of many boxes."""
    config = Config.fromfile(TOY / f'det_mambaout_{kind}.py')
    model = config.model
    model.backbone.arch = dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    model.neck.update(in_channels=[8, 16, 24, 32], out_channels=16)
    if kind == 'retinanet':
        model.bbox_head.update(in_channels=16, feat_channels=16, stacked_convs=1)
    else:
        model.rpn_head.update(in_channels=16, feat_channels=16)
        model.rpn_head.anchor_generator.strides = [4, 8, 16, 32, 64]
        regions = model.roi_head
        for extractor in (regions.bbox_roi_extractor, regions.mask_roi_extractor):
            extractor.out_channels = 16
        regions.bbox_head.update(in_channels=16, fc_out_channels=32)
        regions.mask_head.update(in_channels=16, conv_out_channels=16, num_convs=1)
    built = load_filled(build_from_config(config)).eval()
    for name, parameter in built.named_parameters():
        # Deltas of the size that they have after training.
        if 'fc_reg' in name or 'retina_reg' in name or 'rpn_reg' in name:
            parameter.data *= 0.2
    return built


def predictions(model, images):
    samples = []
    for _ in images:
        sample = DetDataSample()
        shape = tuple(images.shape[-2:])
        sample.set_metainfo(
            dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))
        )
        samples.append(sample)
    with torch.no_grad():
        return [found.pred_instances for found in model.predict(images, samples, rescale=False)]


def check(made, want, threshold):
    """Compares the rows of one image above the threshold with what mmdet predicts.

    Of boxes whose overlap is the threshold to the last bit either may stay: one row may be another.
    """
    count = int((made['scores'] > threshold).sum())
    assert count == len(want) > 5
    distance = (made['boxes'][:count, None] - want.bboxes).abs().amax(-1)
    distance += 1e3 * (made['labels'][:count, None] != want.labels)
    nearest, rows = distance.min(0)
    same = nearest < 1e-2
    rows, want = rows[same], want[same]
    assert len(set(rows.tolist())) == len(rows) >= count - 1
    torch.testing.assert_close(made['scores'][rows], want.scores, rtol=1e-4, atol=1e-5)
    assert (made['scores'].diff() <= 0).all()
    if 'masks' in made:
        masks, _ = _do_paste_mask(
            made['masks'][rows, None], made['boxes'][rows], *SHAPE, skip_empty=False
        )
        assert ((masks >= 0.5) != want.masks).float().mean() < 1e-4


def images(count=2):
    return torch.randn(count, 3, *SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize('kind', KINDS)
def test_the_network_chooses_what_the_model_predicts(kind):
    model = detector(kind)
    network = detector_of(model)
    with torch.no_grad():
        outputs = dict(zip(network.names, network(images()), strict=True))
    assert len(network.names) == len(outputs)
    for i, want in enumerate(predictions(model, images())):
        made = {name: outputs[name][i] for name in network.names}
        check(made, want, network.facts['score_threshold'])


def test_sure_objects_come_in_the_order_of_their_logits():
    model = detector('retinanet')
    model.bbox_head.retina_cls.weight.data *= 30
    network = detector_of(model)
    with torch.no_grad():
        outputs = dict(zip(network.names, network(images(1)), strict=True))
        exact = dict(zip(network.names, network.double()(images(1).double()), strict=True))
    # In float32 their probabilities are the same number, and any order is that of falling ones.
    assert (outputs['scores'].diff() == 0).sum() > 10
    torch.testing.assert_close(outputs['labels'], exact['labels'])
    torch.testing.assert_close(outputs['boxes'].double(), exact['boxes'], rtol=0, atol=1e-2)


def test_rows_behind_the_last_object_are_marked():
    model = detector('retinanet')
    model.bbox_head.test_cfg.nms.iou_threshold = 1e-6
    network = detector_of(model)
    with torch.no_grad():
        outputs = dict(zip(network.names, network(images(1)), strict=True))
    missing = outputs['scores'][0] == 0
    assert 0 < missing.sum() < len(missing) == model.bbox_head.test_cfg.max_per_img
    assert (outputs['labels'][0] == -1).eq(missing).all()
    assert (outputs['boxes'][0][missing] == 0).all()


# Regions of several images, all their heads: three times as long.
@pytest.mark.parametrize(
    ('kind', 'batch'),
    [
        pytest.param('retinanet', 1, marks=pytest.mark.slow),
        pytest.param('maskrcnn', 2, marks=pytest.mark.full),
    ],
)
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_an_onnx_file_predicts_what_the_model_does(kind, batch, tmp_path):
    for package in FORMATS['onnx'].packages:
        pytest.importorskip(package, reason='needs the extra export')
    import onnx

    model = detector(kind)
    path = tmp_path / 'model.onnx'
    made = export(model, path, 'onnx', SHAPE, batch, predictions=True)
    assert made.error <= 1e-4
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert 'NonMaxSuppression' in operators
    assert ('RoiAlign' in operators) == (kind == 'maskrcnn')
    found = FORMATS['onnx'].load(path)(images(batch))
    outputs = dict(zip(made.metadata['outputs'], found, strict=True))
    for i, want in enumerate(predictions(model, images(batch))):
        check({k: v[i] for k, v in outputs.items()}, want, made.metadata['score_threshold'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(format='torch'), 'predictions are exported to onnx.* alone, not to torch'),
        (dict(batch='dynamic'), r'predictions need a number of images \(batch\) and float32'),
        (dict(half=True), r'predictions need a number of images \(batch\) and float32'),
    ],
)
def test_what_does_not_go_with_predictions_is_said(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS['onnx'], 'packages', ())
    with pytest.raises(ValueError, match=message):
        export(
            detector('retinanet'), tmp_path / 'model', shape=SHAPE, predictions=True, **arguments
        )
    assert not list(tmp_path.iterdir())


def test_models_without_such_predictions_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS['onnx'], 'packages', ())
    classifier = mmvmamba.get_model('mambaout_test')
    with pytest.raises(ValueError, match='predictions are those of a detector, got ImageClassifi'):
        export(classifier, tmp_path / 'model', predictions=True)
    cascade = detector('maskrcnn')
    cascade.roi_head = torch.nn.Identity()
    with pytest.raises(ValueError, match='of RetinaNet, Faster and Mask R-CNN alone; of MaskRCNN'):
        export(cascade, tmp_path / 'model', shape=SHAPE, predictions=True)
    assert not list(tmp_path.iterdir())


def test_a_mask_r_cnn_without_masks_is_a_faster_r_cnn():
    model = detector('maskrcnn')
    model.roi_head.mask_head = None
    assert 'masks' not in TwoStageDetector(model).names

"""Detectors built from configs: official numbers and keys, and the gradient of region features."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvmamba.models.detectors import ScaledGradientRoIExtractor
from mmvmamba.testing import GoldenCase

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / 'tests' / 'golden' / 'plain_mamba'


def build(config):
    init_default_scope('mmdet')
    config = Config.fromfile(ROOT / 'configs' / 'det' / config)
    config.model.backbone.init_cfg = None
    return MMDET_MODELS.build(config.model)


def official_keys(case):
    return {key: list(shape) for key, shape in case.spec['keys'].items()}


def test_mask_rcnn_of_plain_mamba_l1_matches_official_numbers():
    case = GoldenCase(GOLDEN / 'l1_mask_rcnn_64x96')
    detector = build('l1_maskrcnn_1x.py').eval()
    state = detector.state_dict()
    counters = {key: value for key, value in state.items() if key.endswith('num_batches_tracked')}
    assert {key: list(value.shape) for key, value in state.items()} == official_keys(case)
    detector.load_state_dict({**counters, **case.state_dict()})
    with torch.no_grad():
        maps = detector.backbone(case.input().float())
        levels = detector.neck(maps)
        scores, boxes = detector.rpn_head(levels)
    for i, stage in enumerate(maps, start=1):
        case.check(f'f{i}', stage)
    for i, outputs in enumerate(zip(levels, scores, boxes, strict=True), start=1):
        for name, output in zip((f'p{i}', f'head_cls{i}', f'head_reg{i}'), outputs, strict=True):
            case.check(name, output)


@pytest.mark.parametrize('arch', ['l1', 'l2', 'l3'])
@pytest.mark.parametrize('detector', ['maskrcnn', 'retinanet'])
def test_official_detector_keys_are_those_of_the_config(arch, detector):
    name = {'maskrcnn': 'mask_rcnn', 'retinanet': 'retinanet'}[detector]
    suffix = '_64x96' if (arch, detector) == ('l1', 'maskrcnn') else ''
    case = GoldenCase(GOLDEN / f'{arch}_{name}{suffix}')
    with torch.device('meta'):
        model = build(f'{arch}_{detector}_1x.py')
    keys = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert keys == official_keys(case)


def test_finest_scale_decides_on_the_level_of_a_region():
    rois = torch.tensor([[0.0, 0, 0, side, side] for side in (30, 60, 100, 200)])
    levels = {}
    for scale in (56, 28):
        extractor = ScaledGradientRoIExtractor(
            roi_layer=dict(type='RoIAlign', output_size=3),
            out_channels=4,
            featmap_strides=[4, 8, 16],
            finest_scale=scale,
        )
        levels[scale] = extractor.map_roi_levels(rois, 3).tolist()
    assert levels == {56: [0, 0, 0, 1], 28: [0, 1, 1, 2]}


@pytest.mark.parametrize('training', [True, False])
def test_region_features_send_a_scaled_gradient(training):
    torch.manual_seed(0)
    layer = dict(
        roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=0),
        out_channels=4,
        featmap_strides=[4],
    )
    rois = torch.tensor([[0.0, 2.0, 3.0, 20.0, 25.0]])
    results = []
    for scale in (1.0, 0.25):
        level = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        level.requires_grad_()
        extractor = ScaledGradientRoIExtractor(**layer, gradient_scale=scale).train(training)
        regions = extractor((level,), rois)
        regions.square().sum().backward()
        results.append((regions, level.grad))
    (regions, grad), (same, scaled) = results
    torch.testing.assert_close(same, regions)
    torch.testing.assert_close(scaled, grad * (0.25 if training else 1.0))

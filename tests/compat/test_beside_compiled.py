"""Stand-ins beside the operators of a compiled mmcv: for the same calls, the same numbers.

Only operators that mmcv has for a CPU can be compared; the others stand beside loops alone.
"""

from functools import partial

import pytest
import torch
from mmcv.ops import (
    PSAMask,
    batched_nms,
    deform_conv2d,
    modulated_deform_conv2d,
    nms,
    nms_match,
    roi_align,
    soft_nms,
)

from mmvmamba.compat import mmcv_ops_status
from tests.compat.conftest import put_in_place
from tests.compat.test_deform_conv import GEOMETRIES, make_inputs
from tests.compat.test_nms import random_boxes

if mmcv_ops_status()[0] != 'compiled':
    pytest.skip('mmcv has no compiled operators here', allow_module_level=True)


@pytest.fixture
def both(monkeypatch):
    """Calls a function with mmcv's operators and with the stand-ins in their places."""

    def both(function):
        theirs = function()
        called = []
        put_in_place(monkeypatch, lambda stand_in: recorded(stand_in, called))
        ours = function()
        assert called, 'no stand-in was called'
        return theirs, ours

    return both


def recorded(function, calls):
    def call(*args, **kwargs):
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return call


def values_and_gradients(function, *inputs):
    """The output of a function and its gradients, with a cotangent of random numbers."""
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    out = function(*inputs)
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(out.shape, generator=generator, dtype=out.dtype)
    return out.detach(), *torch.autograd.grad(out, inputs, cotangent)


def assert_equal_numbers(theirs, ours):
    assert len(theirs) == len(ours)
    for i, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        torch.testing.assert_close(our, their, rtol=1e-9, atol=1e-9, msg=f'value {i} differs')


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
def test_deformable_convolution(both, geometry):
    x, offset, _, weight, _ = make_inputs(*geometry).values()
    run = partial(values_and_gradients, lambda *inputs: deform_conv2d(*inputs, *geometry))
    assert_equal_numbers(*both(lambda: run(x, offset, weight)))


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
def test_modulated_deformable_convolution(both, geometry):
    inputs = make_inputs(*geometry).values()
    run = partial(values_and_gradients, lambda *inputs: modulated_deform_conv2d(*inputs, *geometry))
    assert_equal_numbers(*both(lambda: run(*inputs)))


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align(both, mode, sampling_ratio, aligned):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 12, 14, generator=generator, dtype=torch.float64)
    boxes, _ = random_boxes(20)
    rois = torch.cat([torch.arange(20.0, dtype=torch.float64)[:, None] % 2, boxes], dim=1)
    settings = ((3, 4), 0.25, sampling_ratio, mode, aligned)
    run = partial(values_and_gradients, lambda x: roi_align(x, rois, *settings))
    assert_equal_numbers(*both(lambda: run(x)))


@pytest.mark.parametrize('psa_type', ['collect', 'distribute'])
def test_psa_mask(both, psa_type):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5 * 7, 4, 3, generator=generator, dtype=torch.float64)
    mask = PSAMask(psa_type, (5, 7))
    assert_equal_numbers(*both(lambda: values_and_gradients(mask, x)))


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('settings', [{}, dict(score_threshold=0.3), dict(max_num=7)], ids=str)
def test_nms(both, settings, offset):
    boxes, scores = random_boxes(80)
    assert_equal_numbers(
        *both(lambda: nms(boxes.float(), scores.float(), 0.3, offset=offset, **settings))
    )


@pytest.mark.parametrize('cfg', [dict(type='nms'), dict(type='soft_nms')], ids=str)
def test_nms_by_class(both, cfg):
    boxes, scores = (value.float() for value in random_boxes(80))
    classes = torch.arange(80) % 3
    assert_equal_numbers(
        *both(lambda: batched_nms(boxes, scores, classes, dict(cfg, iou_threshold=0.3)))
    )


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(both, method, offset):
    boxes, scores = (value.float() for value in random_boxes(60))
    theirs, ours = both(lambda: soft_nms(boxes, scores, 0.3, 0.5, 1e-3, method, offset))
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_groups_of_nms(both, threshold):
    boxes, scores = (value.float() for value in random_boxes(40))
    detections = torch.cat([boxes, scores[:, None]], dim=1)
    theirs, ours = both(lambda: nms_match(detections, threshold))
    assert [list(group) for group in theirs] == [list(group) for group in ours]

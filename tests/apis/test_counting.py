import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmvmamba.apis.bare_models import bare_config, build_bare, default_shape
from mmvmamba.apis.counting import count_config, count_model
from mmvmamba.ops.flops import ms_deform_attn_backward_flops, ms_deform_attn_flops
from mmvmamba.ops.ms_deform_attn import ms_deform_attn
from tests.apis.published_operations import CASES, DEVIATIONS

TOLERANCE = 0.03
# Windows into which the maps of an image of the usual size fall without padding.
WINDOWS = {'mmdet': (8, 8, 10, 5), 'mmseg': (8, 8, 16, 8)}
FAST = {'plain_mamba_l1', 'mambaout_femto', 'mambavision_t', 'vmamba_tiny_s1l8', 'vim_tiny'}
FAST |= {'spatial_mamba_tiny', 'mila_tiny', 'vit_small_visible', 'l1_maskrcnn_1x'}


def counted(case):
    """What the convention of a published figure counts, and the number of parameters."""
    config = bare_config(case.model)
    if case.convention.endswith('padding'):
        config.model.backbone.window_size = WINDOWS[config.default_scope]
    count = count_config(config)
    macs = count.macs
    if case.convention.startswith('without attention'):
        macs -= count.operations['batched products'] // 2 + count.operations['selective scans']
    if case.convention == 'scan of three':
        macs -= count.operations['selective scans'] * 6 // 9
    return macs, count.parameters


def fast_or_full(case):
    marks = () if case.model in FAST else pytest.mark.full
    return pytest.param(case, id=case.model, marks=marks)


@pytest.mark.parametrize('case', [fast_or_full(case) for case in CASES])
def test_published_figures_are_reproduced(case):
    macs, parameters = counted(case)
    assert abs(macs / 1e9 / case.giga - 1) < TOLERANCE
    if case.parameters is not None:
        digits = len(case.parameters.partition('.')[2])
        assert f'{parameters / 1e6:.{digits}f}' == case.parameters


@pytest.mark.full
@pytest.mark.parametrize('case', list(DEVIATIONS), ids=lambda case: case.model)
def test_a_deviation_that_is_explained_is_one(case):
    macs, _ = counted(case)
    assert abs(macs / 1e9 / case.giga - 1) > TOLERANCE


def test_convolutions_and_products_are_counted_by_hand():
    count = count_model('mambaout_femto')
    # Two convolutions of the stem at strides 2 and 4, then their norms, which count nothing.
    stem = 2 * 9 * (3 * 24 * 112**2 + 24 * 48 * 56**2)
    assert count.modules['backbone.downsample_layers.0'] == stem
    assert count.modules[''] == count.flops == sum(count.operations.values())
    assert count.macs == count.flops // 2
    assert count.parameters == 7_304_536


def test_parts_add_up_and_lists_of_modules_are_the_sum_of_theirs():
    modules = count_model('plain_mamba_l1').modules
    layers = [modules[f'backbone.layers.{i}'] for i in range(24)]
    assert modules['backbone.layers'] == sum(layers) > 0
    assert modules['backbone'] + modules['head'] == modules['']


def test_what_has_no_formula_is_named():
    count = count_model('mambavision_t')
    assert count.uncounted['native_layer_norm'] > 20
    assert '_safe_softmax' in count.uncounted
    assert not {'gelu', 'add', 'view', 'bmm'} & set(count.uncounted)


def test_an_operator_nobody_knows_is_not_passed_over(monkeypatch):
    config = bare_config('configs/toy/cls_mambaout.py')
    model = build_bare(config, 'meta')
    model.neck = nn.Sequential(_Sort(), model.neck)
    monkeypatch.setattr('mmvmamba.apis.counting.build_bare', lambda *_: model)
    assert count_config(config, (64, 64)).uncounted['sort'] == 1


class _Sort(nn.Module):
    def forward(self, features):
        return tuple(x.sort(dim=-1).values for x in features)


def test_counting_takes_no_memory_and_leaves_no_trace(monkeypatch):
    """Tables of scan orders are kept; those of a count must not be those of a run."""
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'torch')
    config = bare_config('configs/toy/cls_plain_mamba.py')
    images = torch.zeros(1, 3, 64, 64)
    model = build_bare(config)
    with torch.no_grad():
        before = model(images)
        count_config(config, (64, 64))
        assert torch.equal(model(images), before)
    assert all(parameter.is_meta for parameter in build_bare(config, 'meta').parameters())


@pytest.mark.parametrize(
    ('model', 'shape', 'message'),
    [
        ('vim_tiny', (3, 5), 'the model takes no image of 3 x 5'),
        ('no_such_model', None, 'there is no model'),
        ('no/such/file.py', None, 'config file no/such/file.py does not exist'),
    ],
)
def test_bad_input_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        count_model(model, shape)


def test_the_usual_shapes():
    names = ('mambavision_l2_512_21k', 'l1_maskrcnn_1x', 'l1_upernet')
    shapes = [default_shape(bare_config(name)) for name in names]
    assert shapes == [(512, 512), (800, 1280), (512, 2048)]


def test_deformable_attention_is_counted():
    value = torch.randn(2, 20, 3, 4, requires_grad=True)
    locations, weights = torch.rand(2, 5, 3, 1, 6, 2), torch.rand(2, 5, 3, 1, 6)
    with FlopCounterMode(display=False) as counter:
        out = ms_deform_attn(value, [(4, 5)], locations, weights)
    samples = 2 * 5 * 3 * 6
    assert counter.get_total_flops() == ms_deform_attn_flops(samples, 4) == 9 * samples * 4
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == ms_deform_attn_backward_flops(samples, 4)


def test_a_model_that_asks_for_autocast_is_counted_without_memory():
    assert count_model('vmamba_tiny_s1l8', (64, 64)).flops > 0

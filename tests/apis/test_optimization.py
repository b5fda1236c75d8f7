"""Models made ready for inference predict what they did, and refuse what they cannot do."""

import copy
import pickle

import pytest
import torch
from mmengine.config import Config
from torch import nn

import mmvmamba
from mmvmamba.apis import get_model, optimization, optimize_for_inference
from mmvmamba.apis.task_models import build_from_config
from mmvmamba.apis.timing import tensors_in
from mmvmamba.layers.packed import KEPT_SIZES, LARGE_MAP, PackedConv2d, PackedLinear
from mmvmamba.models.backbones.mila import MILABlock

SMALLEST = (
    'plain_mamba_l1', 'vim_tiny', 'mambavision_t', 'mambaout_femto', 'mambaout_test',
    'vmamba_tiny_s1l8', 'spatial_mamba_tiny', 'mila_tiny', 'vit_tiny_causal',
)  # fmt: skip


def with_own_statistics(model):
    """The model with norms and biases that are neither zero nor one, as after a training."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
            module.running_var.mul_(1 + torch.rand(module.running_var.shape, generator=generator))
    return model.eval()


def relative_errors(model, ready, images):
    with torch.inference_mode():
        pairs = zip(tensors_in(model(images)), tensors_in(ready(images)), strict=True)
        return [float((a - b).abs().max() / a.abs().max()) for a, b in pairs]


@pytest.fixture
def small():
    return with_own_statistics(get_model('mambaout_test', num_classes=5))


@pytest.mark.parametrize('name', SMALLEST)
def test_a_classifier_predicts_the_same(name):
    torch.manual_seed(0)
    model = with_own_statistics(get_model(name, num_classes=10))
    ready = optimize_for_inference(model)
    (error,) = relative_errors(model, ready, torch.randn(2, 3, 64, 64))
    assert error < 1e-5
    kinds = {type(module) for module in ready.modules()}
    assert {PackedConv2d, PackedLinear} <= kinds
    assert nn.BatchNorm2d not in kinds or name == 'mambavision_t'  # its last norm follows a sum


@pytest.mark.parametrize('config', ['det_plain_mamba_maskrcnn', 'seg_mambavision'])
def test_a_detector_and_a_segmentor_find_the_same(config):
    torch.manual_seed(0)
    model = with_own_statistics(build_from_config(Config.fromfile(f'configs/toy/{config}.py')))
    ready = optimize_for_inference(model)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = (list(m.extract_feat(images)) for m in (model, ready))
        for head in ('rpn_head', 'decode_head'):
            if hasattr(model, head):
                for m, results in ((model, expected), (ready, found)):
                    results += tensors_in(getattr(m, head)(m.extract_feat(images)))
    assert len(expected) > 4
    for wanted, got in zip(expected, found, strict=True):
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_model_stays_as_it_is(small):
    before = copy.deepcopy(small.state_dict())
    small.train()
    ready = optimize_for_inference(small, torch.randn(1, 3, 64, 64))
    assert ready is not small
    assert all(module.training for module in small.modules())
    assert all(parameter.requires_grad for parameter in small.parameters())
    after = small.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_training_is_refused(small):
    ready = optimize_for_inference(small)
    for module in (ready, ready.backbone):
        with pytest.raises(ValueError, match='cannot be trained: train the one it was made from'):
            module.train()
    assert not ready.training
    assert ready.eval() is ready


def test_saving_and_loading_are_refused(small, tmp_path):
    ready = optimize_for_inference(small)
    with pytest.raises(ValueError, match='has no weights to save or load: use the one it was'):
        ready.state_dict()
    with pytest.raises(ValueError, match='has no weights to save or load: use the one it was'):
        ready.load_state_dict(small.state_dict())


def test_moving_and_casting_are_refused(small):
    ready = optimize_for_inference(small)
    assert ready.to('cpu') is ready
    for move in (ready.half, lambda: ready.to('meta')):
        with pytest.raises(ValueError, match='stays where and in what it was made'):
            move()


@pytest.mark.parametrize('take', [copy.deepcopy, pickle.dumps])
def test_copies_are_refused(take, small):
    with pytest.raises(TypeError, match='cannot be copied or pickled: do so with the one it was'):
        take(optimize_for_inference(small))


def test_get_model_makes_it_ready():
    ready = get_model('mambaout_test', optimize=True)
    assert any(isinstance(module, PackedLinear) for module in ready.modules())
    assert mmvmamba.optimize_for_inference is optimize_for_inference


def test_an_example_shows_another_result(small, monkeypatch):
    monkeypatch.setattr(optimization, '_fold_norms', _spoil)
    with pytest.raises(ValueError, match=r'differs from its original by .* more than 1e-04'):
        optimize_for_inference(small, torch.randn(1, 3, 64, 64))


def _spoil(module):
    if isinstance(module, nn.LayerNorm):
        module.weight.data.mul_(2)


def test_weights_of_bfloat16(small):
    if not optimization._has_bfloat16():
        pytest.skip('the CPU has no instructions for bfloat16')
    images = torch.randn(1, 3, 64, 64)
    ready = optimize_for_inference(small, images, dtype=torch.bfloat16)
    assert 1e-5 < max(relative_errors(small, ready, images)) < 0.1


def test_bfloat16_is_refused_where_the_cpu_has_it_not(small, monkeypatch):
    monkeypatch.setattr(optimization, '_has_bfloat16', lambda: False)
    with pytest.raises(ValueError, match='for CPUs with instructions for bfloat16, which this one'):
        optimize_for_inference(small, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match='dtype must be one of'):
        optimize_for_inference(small, dtype=torch.float16)


@pytest.mark.parametrize('groups', [1, 8])
def test_a_packed_convolution_takes_any_size(groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=groups)
    ready = PackedConv2d(conv)
    side = int(LARGE_MAP**0.5)
    sides = [*range(1, KEPT_SIZES + 3), side, side + 1]
    with torch.inference_mode():
        for height in sides:
            x = torch.randn(2, 8, height, side)
            torch.testing.assert_close(ready(x), conv(x))
        assert ready(torch.empty(0, 8, 4, 4)).shape == (0, 16, 2, 2)
    assert 0 < len(ready.packs) <= KEPT_SIZES


def test_a_packed_linear_layer_takes_nothing_and_everything():
    linear = nn.Linear(6, 7)
    ready = PackedLinear(linear)
    with torch.inference_mode():
        for shape in ((0, 6), (6,), (1, 6), (2, 3, 6)):
            x = torch.randn(shape)
            torch.testing.assert_close(ready(x), linear(x))


@pytest.mark.parametrize('side', [int(LARGE_MAP**0.5), int(LARGE_MAP**0.5) + 1])
@pytest.mark.parametrize(
    'activation', [nn.ReLU(), nn.SiLU(), nn.GELU(), nn.GELU(approximate='tanh')], ids=str
)
def test_an_activation_goes_into_the_layer_before_it(activation, side):
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, nn.Linear(side - 2, 5), nn.SiLU())
    model = with_own_statistics(nn.Sequential(*layers))
    ready = optimize_for_inference(model)
    assert [type(layer) for layer in ready[1:]] == [nn.Identity] * 2 + [PackedLinear, nn.Identity]
    assert max(relative_errors(model, ready, torch.randn(1, 3, side, side))) < 1e-5


def test_an_activation_that_others_see_stays():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.ReLU()).eval()
    ready = optimize_for_inference(model)
    assert type(ready[2]) is nn.ReLU
    assert max(relative_errors(model, ready, torch.randn(1, 3, 8, 8))) < 1e-5


def test_the_sum_with_its_input_goes_into_a_convolution():
    torch.manual_seed(0)
    block = MILABlock(8, 2).eval()
    ready = optimize_for_inference(block)
    assert ready.cpe1.adds_input and ready.cpe2.adds_input and not ready.dwc.adds_input
    assert max(relative_errors(block, ready, torch.randn(1, 5, 6, 8))) < 1e-5


def test_a_convolution_that_makes_its_own_weight_keeps_its_norm():
    from mmcv.cnn.bricks.conv_module import ConvModule

    torch.manual_seed(0)
    settings = dict(norm_cfg=dict(type='BN'), conv_cfg=dict(type='ConvWS'))
    model = with_own_statistics(nn.Sequential(ConvModule(3, 4, 3, **settings)))
    assert (
        max(relative_errors(model, optimize_for_inference(model), torch.randn(1, 3, 9, 9))) < 1e-5
    )


@pytest.mark.full
def test_a_compiled_model_predicts_the_same(small):
    images = torch.randn(1, 3, 64, 64)
    ready = optimize_for_inference(small, images, compile=True)
    assert max(relative_errors(small, ready, images)) < 1e-5

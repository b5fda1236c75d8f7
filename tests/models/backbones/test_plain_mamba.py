"""PlainMamba against the numbers of the official models, part by part and whole."""

from pathlib import Path

import pytest
import torch

from mmvmamba.layers import resize_position_grid
from mmvmamba.models.backbones import PlainMamba
from mmvmamba.models.backbones.plain_mamba import (
    PlainMambaBlock,
    PlainMambaMixer,
    PlainMambaStem,
)
from mmvmamba.testing import GoldenCase, make_input
from tests.models.plain_half import PlainHalf, assert_maps_close

GOLDEN = Path(__file__).parents[2] / 'golden' / 'plain_mamba'
DTYPES = [torch.float64, torch.float32]
MIXER = dict(d_state=8, d_conv=5)
TINY = dict(embed_dims=32, num_layers=3, num_convs=1, layers_with_dwconv=(0,), mixer=MIXER)


def load(module, case, dtype):
    """Loads a module from the values of a case, without the prefix that the case may carry."""
    state = {key.removeprefix('backbone.'): value for key, value in case.state_dict().items()}
    counters = {k: v for k, v in module.state_dict().items() if k.endswith('num_batches_tracked')}
    module = module.to(dtype).eval()
    module.load_state_dict({**counters, **state})
    return module


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', ['mixer_3x5', 'mixer_4x4'])
def test_mixer_matches_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    mixer = load(PlainMambaMixer(32, **MIXER), case, dtype)
    case.check('out', mixer(case.input().to(dtype), tuple(case.spec['hw_shape'])))


def test_mixer_has_the_widths_that_are_asked_for():
    mixer = PlainMambaMixer(32, d_state=8, expand=1, dt_rank=3)
    assert mixer.in_proj.weight.shape == (2 * 32, 32)
    assert mixer.x_proj.weight.shape == (3 + 2 * 8, 32)
    assert mixer.dt_proj.weight.shape == (32, 3)
    assert mixer(make_input((2, 6, 32)).float(), (2, 3)).shape == (2, 6, 32)


def test_layer_scale_multiplies_the_output():
    plain, scaled = PlainMambaMixer(32), PlainMambaMixer(32, layer_scale=0.25)
    scaled.load_state_dict(dict(plain.state_dict(), gamma=scaled.gamma))
    x = make_input((2, 6, 32)).float()
    assert torch.equal(scaled(x, (2, 3)), plain(x, (2, 3)) * 0.25)


def test_mixer_gradients_match_official_numbers():
    case = GoldenCase(GOLDEN / 'mixer_grad_3x5')
    mixer = load(PlainMambaMixer(32, **MIXER), case, torch.float64)
    x = case.input().requires_grad_()
    (mixer(x, tuple(case.spec['hw_shape'])) * make_input(x.shape, 500)).sum().backward()
    case.check('x', x.grad)
    for name, parameter in mixer.named_parameters():
        case.check(f'grad.{name}', parameter.grad)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', ['layer_dw_3x5', 'layer_plain_5x2'])
def test_block_matches_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    block = PlainMambaBlock(32, MIXER, with_dwconv=case.spec['kwargs']['with_dwconv'])
    block = load(block, case, dtype)
    case.check('out', block(case.input().to(dtype), tuple(case.spec['hw_shape'])))


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_stem_pads_its_map_at_the_bottom_and_right(dtype):
    case = GoldenCase(GOLDEN / 'patch_embed_75x101')
    stem = load(PlainMambaStem(3, 32, num_convs=2, patch_size=16), case, dtype)
    tokens, grid = stem(case.input().to(dtype))
    assert grid == tuple(case.arrays['hw'])
    case.check('out', tokens)


def test_position_embedding_is_resized_by_the_official_rule():
    case = GoldenCase(GOLDEN / 'pos_embed_resize')
    position = case.state_dict()['pos_embed']
    for height, width in case.spec['grids']:
        resized = resize_position_grid(position, (4, 4), (height, width))
        case.check(f'{height}x{width}', resized)


def classifier_outputs(case, dtype, **settings):
    """Final tokens, their mean and the logits of a classification case."""
    state = case.state_dict()
    weight, bias = (state.pop(f'head.fc.{name}').to(dtype) for name in ('weight', 'bias'))
    case.spec['keys'] = {key: value.shape for key, value in state.items()}
    backbone = load(PlainMamba(**settings), case, dtype)
    (last,) = backbone(case.input().to(dtype))
    pooled = last.mean((2, 3))
    return last.flatten(2).transpose(1, 2), pooled, pooled @ weight.T + bias


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('size', ['64x64', '64x96', '80x48', '75x101', '16x112'])
def test_small_classifier_matches_official_numbers(size, dtype):
    case = GoldenCase(GOLDEN / f'tiny_cls_{size}')
    outputs = classifier_outputs(case, dtype, arch=TINY, img_size=64)
    for name, output in zip(('tokens', 'pooled', 'logits'), outputs, strict=True):
        case.check(name, output)


@pytest.mark.parametrize(
    ('arch', 'dtype'),
    [
        ('L1', torch.float32),
        pytest.param('L1', torch.float64, marks=pytest.mark.slow),
        pytest.param('L2', torch.float32, marks=pytest.mark.slow),
        pytest.param('L2', torch.float64, marks=pytest.mark.slow),
        pytest.param('L3', torch.float32, marks=pytest.mark.slow),
        pytest.param('L3', torch.float64, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_official_classifier_matches_its_numbers(arch, dtype):
    case = GoldenCase(GOLDEN / f'{arch.lower()}_cls_224')
    outputs = classifier_outputs(case, dtype, arch=arch)
    for name, output in zip(('tokens', 'pooled', 'logits'), outputs, strict=True):
        case.check(name, output)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('size', ['64x64', '80x112', '50x70'])
def test_inner_outputs_are_normed_apart_from_the_stream(size, dtype):
    case = GoldenCase(GOLDEN / f'tiny_seg_{size}')
    out_indices = case.spec['kwargs']['out_indices']
    backbone = PlainMamba(TINY, img_size=64, out_indices=out_indices)
    outs = load(backbone, case, dtype)(case.input().to(dtype))
    assert len(outs) == len(out_indices)
    for i, out in enumerate(outs):
        case.check(f'out{i}', out)


def test_segmentation_backbone_of_l1_matches_official_numbers():
    case = GoldenCase(GOLDEN / 'l1_upernet_96x160')
    case.spec['keys'] = {
        key: shape for key, shape in case.spec['keys'].items() if key.startswith('backbone.')
    }
    backbone = load(PlainMamba('L1', out_indices=(5, 11, 17, 23)), case, torch.float32)
    for i, out in enumerate(backbone(case.input().float())):
        case.check(f'out{i}', out)


def test_out_indices_may_repeat_and_count_from_the_end():
    torch.manual_seed(0)
    backbone = PlainMamba(TINY, img_size=64, out_indices=[-1, 0, 0]).eval()
    last, first, again = backbone(torch.randn(1, 3, 32, 32))
    assert torch.equal(first, again)
    assert not torch.equal(first, last)


@pytest.mark.parametrize('use_mamba_dt_init', [False, True])
def test_initial_step_sizes(use_mamba_dt_init):
    backbone = PlainMamba(TINY, img_size=64, use_mamba_dt_init=use_mamba_dt_init)
    before = backbone.layers[0].mamba.dt_proj.bias.clone()
    backbone.init_weights()
    bias = backbone.layers[0].mamba.dt_proj.bias
    assert torch.equal(bias, before if use_mamba_dt_init else torch.zeros_like(bias))
    steps = torch.nn.functional.softplus(before)
    assert (steps > 0.9e-3).all() and (steps < 0.11).all()


def test_half_precision_keeps_the_state_in_float32():
    torch.manual_seed(0)
    backbone = PlainMamba(TINY, img_size=64).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        want = backbone(x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            got = backbone(x)
        with PlainHalf():
            plain = backbone(x)
    assert_maps_close(got, plain, want, 'plain_mamba')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='L4'), "arch must be one of 'L1', 'L2', 'L3' or a dict, got 'L4'"),
        (dict(arch=3), 'or a dict, got 3'),
        (dict(arch=dict(embed_dims=8)), 'arch as a dict needs the keys'),
        (dict(arch=TINY, out_indices=3), r'out_indices must lie in \[-3, 3\), got 3'),
        (dict(arch=TINY, patch_size=7), 'patch_size must be even, got 7'),
        (dict(arch=TINY | dict(mixer=dict(d_conv=4))), 'd_conv must be odd, got 4'),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PlainMamba(**settings)


def test_frozen_stages_beyond_the_last_block_are_refused():
    with pytest.raises(ValueError, match=r'must lie in \[-1, 3\], got 4'):
        PlainMamba(TINY, frozen_stages=4).train()

"""The adapter and its parts against the numbers of the official models."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmvmamba.models.adapters import PlainMambaAdapter
from mmvmamba.models.adapters.modules import (
    MSDeformAttention,
    pyramid_grids,
    reference_points,
    softmax_of_few,
)
from mmvmamba.testing import GoldenCase, load_filled, make_input

GOLDEN = Path(__file__).parents[2] / 'golden' / 'plain_mamba'
DTYPES = [torch.float64, torch.float32]
TINY = dict(
    arch=dict(
        embed_dims=32,
        num_layers=3,
        num_convs=1,
        layers_with_dwconv=(0,),
        mixer=dict(d_state=8, d_conv=5),
    ),
    img_size=64,
)
SETTINGS = dict(conv_inplane=8, deform_num_heads=4, interaction_indexes=[[0, 0], [1, 2]])


def load(module, case, dtype):
    state = {key.removeprefix('backbone.'): value for key, value in case.state_dict().items()}
    counters = {k: v for k, v in module.state_dict().items() if k.endswith('num_batches_tracked')}
    module = module.to(dtype).eval()
    module.load_state_dict({**counters, **state})
    return module


def grids_of_reference_points():
    """Image sizes of the stored reference points, with the grid at stride 16."""
    return [((64, 96), (4, 6)), ((96, 32), (6, 2))]


@pytest.mark.parametrize(('size', 'grid'), grids_of_reference_points(), ids=str)
def test_reference_points_are_cell_centres(size, grid):
    case = GoldenCase(GOLDEN / 'adapter_reference_points')
    name = '{}x{}'.format(*size)
    like = torch.zeros((), dtype=torch.float64)
    case.check(f'{name}.injector_ref', reference_points([grid], like), 1e-6)
    case.check(f'{name}.extractor_ref', reference_points(pyramid_grids(grid), like), 1e-6)
    assert np.array_equal(case.arrays[f'{name}.injector_shapes'], pyramid_grids(grid))


@pytest.mark.parametrize(('heads', 'levels'), [(6, 3), (8, 1)])
def test_initial_offsets_look_in_all_directions(heads, levels):
    case = GoldenCase(GOLDEN / 'msda_init')
    attention = MSDeformAttention(heads * 4, levels, heads, num_points=4)
    name = f'sampling_offsets_bias_h{heads}l{levels}p4'
    case.check(name, attention.sampling_offsets.bias, 1e-6)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', ['msda_3level', 'msda_1level_ratio'])
def test_deformable_attention_matches_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    kwargs, inputs = case.spec['kwargs'], case.spec['inputs']
    attention = MSDeformAttention(
        kwargs['d_model'],
        kwargs['n_levels'],
        kwargs['n_heads'],
        kwargs['n_points'],
        kwargs['ratio'],
    )
    query, value, points = (
        make_input(inputs[key]['shape'], inputs[key]['make_input_seed']).to(dtype)
        for key in ('query', 'value', 'reference_points')
    )
    grids = [tuple(shape) for shape in case.spec['spatial_shapes']]
    case.check('out', load(attention, case, dtype)(query, 0.5 + 0.3 * points, value, grids))


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('tiny_adapter_64x96', {}),
        ('tiny_adapter_128x32', {}),
        (
            'tiny_adapter_ratio_nofeat_32x64',
            dict(n_points=2, deform_ratio=0.5, add_vit_feature=False, use_extra_extractor=False),
        ),
    ],
)
def test_adapter_matches_official_numbers(name, settings, dtype):
    case = GoldenCase(GOLDEN / name)
    adapter = load(PlainMambaAdapter(**TINY, adapter=SETTINGS | settings), case, dtype)
    for i, level in enumerate(adapter(case.input().to(dtype)), start=1):
        case.check(f'f{i}', level)


def test_adapter_of_l1_matches_official_numbers():
    case = GoldenCase(GOLDEN / 'l1_mask_rcnn_64x96')
    case.spec['keys'] = {
        key: shape for key, shape in case.spec['keys'].items() if key.startswith('backbone.')
    }
    adapter = load(PlainMambaAdapter('L1'), case, torch.float32)
    for i, level in enumerate(adapter(case.input().float()), start=1):
        case.check(f'f{i}', level)


def small_adapter(**settings):
    torch.manual_seed(0)
    return load_filled(PlainMambaAdapter(**TINY, adapter=SETTINGS | settings)).eval()


def test_an_extractor_without_mlp_is_one_whose_mlp_gives_nothing():
    without, silenced = small_adapter(with_cffn=False), small_adapter()
    for name, parameter in silenced.named_parameters():
        if '.ffn.fc2.' in name:
            torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 3, 64, 32)
    assert not [key for key in without.state_dict() if 'ffn' in key]
    with torch.no_grad():
        for got, want in zip(without(x), silenced(x), strict=True):
            assert torch.equal(got, want)


def test_parts_have_the_sizes_and_norms_that_are_asked_for():
    settings = dict(cffn_ratio=0.5, norm_cfg=dict(type='SyncBN'), init_values=0.3)
    adapter = PlainMambaAdapter(**TINY, adapter=SETTINGS | settings)
    first = adapter.interactions[0]
    assert first.extractor.ffn.fc1.weight.shape == (16, 32)
    assert (first.injector.gamma == 0.3).all()
    for norm in (adapter.spm.stem[1], adapter.ad_norm1, adapter.ad_norm4):
        assert isinstance(norm, torch.nn.SyncBatchNorm)


@pytest.mark.parametrize('out_indices', [(1, 2, 3), (3, 0, -2), 2], ids=str)
def test_chosen_maps_are_those_of_the_whole(out_indices):
    whole = small_adapter()
    torch.manual_seed(0)
    part = PlainMambaAdapter(**TINY, adapter=SETTINGS, out_indices=out_indices)
    keys = part.state_dict().keys()
    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in keys})
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, chosen = whole(x), part.eval()(x)
    indices = out_indices if isinstance(out_indices, tuple) else (out_indices,)
    for i, got in zip(indices, chosen, strict=True):
        assert torch.equal(got, maps[i])
    # A square says nothing to what a BatchNorm puts out.
    sum((level**3).mean() for level in part.train()(x)).backward()
    assert not [name for name, parameter in part.named_parameters() if not parameter.grad.any()]


@pytest.mark.parametrize('use_mamba_dt_init', [False, True])
def test_initial_step_sizes(use_mamba_dt_init):
    adapter = PlainMambaAdapter(**TINY, adapter=SETTINGS, use_mamba_dt_init=use_mamba_dt_init)
    before = adapter.layers[0].mamba.dt_proj.bias.clone()
    adapter.init_weights()
    bias = adapter.layers[0].mamba.dt_proj.bias
    assert torch.equal(bias, before if use_mamba_dt_init else torch.zeros_like(bias))


def test_any_image_size_is_padded_at_the_bottom_and_right():
    torch.manual_seed(0)
    adapter = PlainMambaAdapter(**TINY, adapter=SETTINGS).eval()
    x = torch.randn(1, 3, 33, 47)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :33, :47] = x
    with torch.no_grad():
        for got, want in zip(adapter(x), adapter(padded), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(interaction_indexes=[[0, 0], [2, 2]]), 'cover the blocks 0 to 2'),
        (dict(interaction_indexes=[[0, 1]]), 'cover the blocks 0 to 2'),
        (dict(interaction_indexes=None), 'not a multiple of 4'),
        (dict(deform_num_heads=5), 'num_heads must divide embed_dims'),
        (dict(norm_cfg=dict(type='IN')), 'norm_cfg must have a type of'),
        (dict(num_heads=4), r"adapter may have the keys .*, got \['num_heads'\]"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PlainMambaAdapter(**TINY, adapter=SETTINGS | settings)


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (2, 1), (0, 4)], ids=str)
def test_softmax_of_short_rows_is_that_of_torch(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(shape, generator=generator, dtype=torch.float64)
    results = []
    for out in (softmax_of_few(x), x.softmax(-1)):
        results.append((out, *torch.autograd.grad(out, x, upstream)))
    torch.testing.assert_close(*results)

"""MILA against the numbers of the official models."""

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.layers import ResidualConvStem, rotate_pairs
from mmvmamba.models.backbones import MILA
from mmvmamba.models.backbones.mila import (
    LinearAttention,
    MILABlock,
    PatchMerging,
    grid_rotation,
)
from tests.models.backbones.pyramid_cases import (
    DTYPES,
    case_names,
    check_case,
    check_gradients,
    dims_of,
    load,
    split_state,
)
from tests.official_files import golden

WITHOUT = ('train', 'unit', 'mask_rcnn', 'upernet')
FAST = case_names('mila', 'micro', without=WITHOUT)
CPU = torch.device('cpu')


def build(case, **settings):
    kwargs = case.spec['kwargs']
    arch = {key: kwargs[key] for key in ('depths', 'num_heads', 'mlp_ratio')}
    arch['dims'] = dims_of(case)
    return MILA(arch, qkv_bias=kwargs['qkv_bias'], **settings)


def rotations(height, width, channels):
    """The table of an official file."""
    tables = grid_rotation(height, width, channels, CPU)
    return torch.stack([t[:, ::2].reshape(height, width, -1) for t in tables], dim=-1)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', FAST)
def test_outputs_match_official_numbers(name, dtype):
    check_case(build, 'mila', name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(case_names('mila', '', without=WITHOUT)) - set(FAST)))
def test_outputs_of_large_variants_match_official_numbers(name):
    check_case(build, 'mila', name, torch.float32)


@pytest.mark.parametrize('arch', MILA.arch_zoo)
def test_rows_have_the_official_keys(arch):
    size = {'tiny': '128x160', 'small': '160x128', 'base': '96x128'}[arch]
    with torch.device('meta'):
        networks = {
            f'{arch}_224x224': MILA(arch, final_norm=True),
            f'backbone_{arch}_{size}': MILA(arch, out_norm='LN2d'),
        }
    for name, backbone in networks.items():
        keys = golden('mila', name).spec['keys']
        ours = {
            key.replace('outnorm', 'norm'): list(value.shape)
            for key, value in backbone.state_dict().items()
        }
        assert ours == {
            key: shape
            for key, shape in keys.items()
            if not key.startswith('head.') and not key.endswith('rotations')
        }


@pytest.mark.parametrize('size', [(3, 5, 8), (4, 4, 12), (1, 1, 4), (7, 7, 24), (2, 9, 16)])
def test_rotations_match_official_numbers(size):
    case = golden('mila', 'unit_rope_table')
    case.check('{}x{}x{}.rotations'.format(*size), rotations(*size))


def test_rotated_map_matches_official_numbers():
    case = golden('mila', 'unit_rope_apply')
    x = case.input()
    case.check('output', rotate_pairs(x.flatten(1, 2), *grid_rotation(3, 5, 24, CPU)).view_as(x))


PARTS = {
    'unit_block_5x4': lambda: MILABlock(16, 2),
    'unit_linear_attention_3x5': lambda: LinearAttention(24, 3),
    'unit_linear_attention_4x4': lambda: LinearAttention(16, 2),
    'unit_linear_attention_nobias_6x1': lambda: LinearAttention(12, 3, qkv_bias=False),
}
GRADIENTS = {
    'unit_block_grad_3x5': lambda: MILABlock(12, 3),
    'unit_linear_attention_grad_3x4': lambda: LinearAttention(24, 3),
}


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', PARTS)
def test_parts_match_official_numbers(name, dtype):
    case = golden('mila', name)
    module = load(PARTS[name]().eval(), case.state_dict(), dtype)
    x = case.input().to(dtype)
    case.check('output', module(x.unflatten(1, case.spec['hw_shape'])).flatten(1, 2))


@pytest.mark.parametrize('name', GRADIENTS)
def test_gradients_match_official_numbers(name):
    case = golden('mila', name)
    module = load(GRADIENTS[name](), case.state_dict(), torch.float64)
    x = case.input().requires_grad_()
    output = module(x.unflatten(1, case.spec['hw_shape'])).flatten(1, 2)
    case.check('output', output)
    check_gradients(case, module, output, x)


@pytest.mark.parametrize('name', ['unit_stem_27x21', 'unit_stem_32x48'])
def test_stem_matches_official_numbers(name):
    case = golden('mila', name)
    stem = load(ResidualConvStem(3, 12).eval(), case.state_dict(), torch.float64)
    image = case.input()
    height, width = image.shape[-2:]
    # The official stem pads to whole patches itself.
    image = F.pad(image, (0, -width % 4, 0, -height % 4))
    case.check('output', stem(image).permute(0, 3, 1, 2))


@pytest.mark.parametrize('size', ['6x8', '7x4', '7x5'])
def test_patch_merging_matches_official_numbers(size):
    case = golden('mila', f'unit_patch_merging_{size}')
    merging = load(PatchMerging(6, 12).eval(), case.state_dict(), torch.float64)
    case.check('output', merging(case.input().permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_training_step_matches_official_numbers():
    case = golden('mila', 'micro_train_64x64')
    state, head = split_state(case, 'norm')
    backbone = build(case, out_indices=(3,), final_norm=True)
    flat = torch.nn.Module()
    for name, child in (
        *backbone.named_children(),
        ('head', torch.nn.Linear(backbone.num_features, 10)),
    ):
        flat.add_module(name, child)
    load(flat, state | head, torch.float64)
    backbone.train()
    x = case.input().requires_grad_()
    logits = flat.head(backbone(x)[0].mean(dim=(2, 3)))
    case.check('logits', logits)
    check_gradients(case, flat, logits, x)
    statistics = dict(flat.named_buffers())
    stored = [key for key in case.arrays if key.startswith('buffer.')]
    assert len(stored) == 2 * 8
    for key in stored:
        case.check(key, statistics[key.removeprefix('buffer.')])


SMALL = dict(dims=(8, 12, 16, 20), depths=(1, 1, 1, 1), num_heads=(1, 3, 2, 5))


def with_rotations(state, dtype=torch.float32):
    """A state dict with the tables that official files have at 224 pixels."""
    channels = SMALL['dims']
    return state | {
        f'layers.{i}.blocks.0.attn.rope.rotations': rotations(side, side, channels[i]).to(dtype)
        for i, side in enumerate((56, 28, 14, 7))
    }


def test_stored_rotations_are_left_out_whatever_the_image_size():
    torch.manual_seed(0)
    backbone = MILA(SMALL)
    other = MILA(SMALL)
    result = other.load_state_dict(with_rotations(backbone.state_dict()))
    assert not result.missing_keys and not result.unexpected_keys
    image = torch.randn(1, 3, 61, 50)
    for got, want in zip(other.eval()(image), backbone.eval()(image), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda table: table + 2e-3,
        lambda table: table[..., :1],
        lambda table: table.flip(0),
        lambda table: table[0],
        lambda table: table * float('nan'),
    ],
)
def test_rotations_of_another_formula_are_refused(spoil):
    backbone = MILA(SMALL)
    state = with_rotations(backbone.state_dict())
    name = 'layers.2.blocks.0.attn.rope.rotations'
    state[name] = spoil(state[name])
    with pytest.raises(ValueError, match=f'{name} must hold the cosines and sines of its grid'):
        backbone.load_state_dict(state)


def test_averaged_rotations_may_have_drifted():
    backbone = MILA(SMALL)
    state = with_rotations(backbone.state_dict())
    name = 'layers.0.blocks.0.attn.rope.rotations'
    state[name] = state[name] + 2e-4
    backbone.load_state_dict(state)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match='dim must be a multiple of 4 and of num_heads 3, got 16'):
        LinearAttention(16, 3)

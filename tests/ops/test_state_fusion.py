"""The state fusion of Spatial-Mamba: its definition, the fast form, and the official numbers."""

import pytest
import torch

from mmvmamba.ops.state_fusion import state_fusion, state_fusion_ref
from mmvmamba.testing import assert_close, make_input
from tests.official_files import golden

NAMES = ('kernel_3', 'kernel_3_1', 'kernel_3_2')


def inputs(height, width, channels=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(height * 100 + width)
    shapes = ((2, channels, height, width), *[(channels, 1, 3, 3)] * 3, (3,))
    return [
        torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    ]


def fuse(function, h, *kernels):
    return function(h, kernels[:3], kernels[3])


@pytest.mark.parametrize('case', ['9x7', '2x3', '1x1'])
@pytest.mark.parametrize('function', [state_fusion, state_fusion_ref])
def test_outputs_and_gradients_match_official_numbers(function, case):
    case = golden('spatial_mamba', f'unit_state_fusion_{case}')
    state = {key: value.requires_grad_() for key, value in case.state_dict().items()}
    h = case.input().requires_grad_()
    out = function(h, [state[name] for name in NAMES], state['alpha'])
    case.check('out', out)
    (out * make_input(out.shape, 500)).sum().backward()
    case.check('grad_input', h.grad)
    for name, value in state.items():
        case.check(f'grad.{name}', value.grad)


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (4, 3), (13, 11)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
def test_fast_form_matches_the_definition(size, dtype):
    results = []
    for function in (state_fusion, state_fusion_ref):
        leaves = inputs(*size, dtype=dtype)
        out = fuse(function, *leaves)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for name, got, want in zip(('out', 'h', *NAMES, 'alpha'), *results, strict=True):
        assert_close(got, want, name)


@pytest.mark.parametrize('function', [state_fusion, state_fusion_ref])
def test_gradients(function):
    assert torch.autograd.gradcheck(lambda *leaves: fuse(function, *leaves), inputs(3, 2))


def test_a_channels_last_map_gives_the_same():
    h, *rest = inputs(6, 5)
    got = fuse(state_fusion, h.contiguous(memory_format=torch.channels_last), *rest)
    assert_close(got, fuse(state_fusion, h, *rest), 'out')

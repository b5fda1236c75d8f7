"""VMamba against the numbers of the official models."""

import pytest
import torch

from mmvmamba.models.backbones import VMamba
from mmvmamba.models.backbones.vmamba import CrossScanMixer
from mmvmamba.ops.scan_order import cross_orders
from mmvmamba.ops.selective_scan import scan_backend
from mmvmamba.testing import assert_close, load_filled
from tests.models.backbones.pyramid_cases import DTYPES, case_names, check_case, dims_of
from tests.official_files import golden

FAST = case_names('vmamba', 'micro')


def build(case, **settings):
    kwargs = case.spec['kwargs']
    arch = dict(
        dims=dims_of(case),
        depths=kwargs['depths'],
        ssm_ratio=kwargs['ssm_ratio'],
        d_state=kwargs['ssm_d_state'],
        with_gate=not kwargs['forward_type'].endswith('_noz'),
        with_conv_bias=kwargs['ssm_conv_bias'],
        mlp_ratio=kwargs['mlp_ratio'],
        with_patches=kwargs['patchembed_version'] == 'v1',
    )
    return VMamba(arch, **settings)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', FAST)
def test_outputs_match_official_numbers(name, dtype):
    check_case(build, 'vmamba', name, dtype, norm='classifier.norm')


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(case_names('vmamba', '')) - set(FAST)))
def test_outputs_of_large_variants_match_official_numbers(name):
    check_case(build, 'vmamba', name, torch.float32, norm='classifier.norm')


@pytest.mark.parametrize('arch', VMamba.arch_zoo)
def test_rows_have_the_official_keys(arch):
    case = golden('vmamba', f'{arch}_224x224')
    with torch.device('meta'):
        backbone = VMamba(arch, final_norm=True)
    ours = {key: list(value.shape) for key, value in backbone.state_dict().items()}
    keys = case.spec['keys']
    theirs = {
        key.replace('classifier.norm', 'norm'): shape
        for key, shape in keys.items()
        if not key.startswith('classifier.head.')
    }
    assert ours == theirs


def test_directions_run_along_rows_and_columns_both_ways():
    # 0 1 2
    # 3 4 5
    assert cross_orders(2, 3).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


@pytest.mark.parametrize('d_state', [1, 3])
def test_compiled_scan_gives_the_outputs_and_gradients_of_the_plain_one(d_state):
    mixer = load_filled(CrossScanMixer(8, d_state=d_state, with_gate=d_state > 1))
    x = torch.randn(2, 5, 7, 8, generator=torch.Generator().manual_seed(0))

    def results(backend):
        mixer.zero_grad()
        leaf = x.clone().requires_grad_()
        with scan_backend(backend):
            y = mixer(leaf)
        y.square().sum().backward()
        grads = {name: p.grad for name, p in mixer.named_parameters()}
        return {'y': y.detach(), 'x': leaf.grad, **grads}

    fast, plain = results('numba'), results('torch')
    for name, expected in plain.items():
        assert_close(fast[name], expected, name)


def test_linear_layers_load_from_1x1_convolutions():
    torch.manual_seed(0)
    backbone = VMamba(dict(dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), ssm_ratio=1.0))
    state = {
        key: value[..., None, None] if key.endswith(('proj.weight', 'fc1.weight')) else value
        for key, value in backbone.state_dict().items()
    }
    assert state['layers.0.blocks.0.op.in_proj.weight'].dim() == 4
    torch.manual_seed(1)
    other = VMamba(dict(dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), ssm_ratio=1.0))
    other.load_state_dict(state)
    image = torch.randn(1, 3, 32, 32)
    for got, want in zip(other.eval()(image), backbone.eval()(image), strict=True):
        assert torch.equal(got, want)

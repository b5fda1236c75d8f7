"""Every backend of deformable attention on the GPU against the reference; needs a CUDA or ROCm
device."""

import pytest
import torch

from mmvmamba.ops.ms_deform_attn import available_backends, ms_deform_attn, ms_deform_attn_ref

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA or ROCm device'),
]
BACKENDS = available_backends('cuda') if torch.cuda.is_available() else ['triton']
# batch, queries, heads, channels, points, shapes of the levels
CASES = [
    (1, 1, 1, 1, 1, [(1, 1)]),
    (2, 7, 3, 5, 4, [(10, 13), (5, 7), (2, 3)]),
    (2, 131, 6, 32, 4, [(20, 26), (10, 13), (5, 6)]),
    (1, 65, 2, 130, 3, [(9, 4)]),
]
NAMES = ('value', 'locations', 'weights')


def make_inputs(batch, queries, heads, channels, points, shapes):
    generator = torch.Generator().manual_seed(queries)
    tokens, samples = sum(h * w for h, w in shapes), (heads, len(shapes), points)
    inputs = (
        torch.randn(batch, tokens, heads, channels, generator=generator),
        torch.rand(batch, queries, *samples, 2, generator=generator) * 1.6 - 0.3,
        torch.rand(batch, queries, *samples, generator=generator) + 0.1,
    )
    return [x.cuda() for x in inputs]


def with_grads(attend, shapes, inputs):
    value, *others = leaves = [x.detach().requires_grad_() for x in inputs]
    out = attend(value, shapes, *others)
    upstream = torch.linspace(-1, 4, out.numel(), device='cuda', dtype=torch.float64).cos()
    grads = torch.autograd.grad((out.double() * upstream.view_as(out)).sum(), leaves)
    return {'out': out.detach(), **dict(zip(NAMES, grads, strict=True))}


def fast(backend):
    return lambda *args: ms_deform_attn(*args, backend=backend)


def largest_error(got, want):
    assert torch.isfinite(got).all()
    return float((got.double() - want).abs().max() / want.abs().max().clamp_min(1e-30))


@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_matches_reference(backend, case):
    inputs = make_inputs(*case)
    got = with_grads(fast(backend), case[-1], inputs)
    want = with_grads(ms_deform_attn_ref, case[-1], [x.double() for x in inputs])
    for name in want:
        assert largest_error(got[name], want[name]) < 1e-4, name


@pytest.mark.parametrize('half', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_half_values_are_summed_in_float32(backend, half):
    case = CASES[2]
    value, *others = make_inputs(*case)
    inputs = [value.to(half), *others]
    got = with_grads(fast(backend), case[-1], inputs)
    want = with_grads(ms_deform_attn_ref, case[-1], [x.double() for x in inputs])
    for name in want:
        # A rounding of the result, which is also that of the gradient that comes back.
        assert largest_error(got[name], want[name]) <= torch.finfo(half).eps, name


@pytest.mark.parametrize('backend', BACKENDS)
def test_points_far_outside_are_zero(backend):
    case = CASES[1]
    value, locations, weights = make_inputs(*case)
    locations = torch.full_like(locations, 1e30)
    assert not ms_deform_attn(value, case[-1], locations, weights, backend=backend).any()


def test_offsets_beyond_32_bits():
    if torch.cuda.get_device_properties(0).total_memory < 32e9:
        pytest.skip('needs a GPU with 32 GB')
    heads, channels, side = 64, 256, 370
    value = torch.zeros(1, side * side, heads, channels, dtype=torch.float16, device='cuda')
    assert value.numel() > 2**31
    value[0, -1, -1] = 1
    locations = torch.full((1, 1, heads, 1, 1, 2), 1 - 0.5 / side, device='cuda')
    weights = torch.ones(1, 1, heads, 1, 1, device='cuda')
    out = ms_deform_attn(value, [(side, side)], locations, weights, backend='triton')
    out = out.unflatten(2, (heads, channels))
    assert not out[0, 0, :-1].any()
    assert torch.allclose(out[0, 0, -1], torch.ones_like(out[0, 0, -1]), rtol=1e-2)


def test_deterministic_mode_refuses_atomic_sums():
    inputs = [x.requires_grad_() for x in make_inputs(*CASES[1])]
    out = fast('triton')(inputs[0], CASES[1][-1], *inputs[1:])
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match='gradient of value in deformable attention'):
            out.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)

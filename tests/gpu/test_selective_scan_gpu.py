"""Every backend that runs on the GPU against the reference; needs a CUDA or ROCm device."""

import pytest
import torch

from mmvmamba.ops.selective_scan import available_backends, selective_scan
from mmvmamba.ops.selective_scan.arguments import canonical_arguments
from mmvmamba.ops.selective_scan.reference import selective_scan_ref

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA or ROCm device'),
]
BACKENDS = available_backends('cuda') if torch.cuda.is_available() else ['triton']
# batch, length, dim, state
SHAPES = [(2, 1, 5, 1), (1, 2, 130, 8), (2, 63, 6, 16), (2, 196, 65, 32), (1, 1025, 33, 8),
          (1, 4200, 64, 16)]  # fmt: skip
HALF = ('u', 'delta', 'B', 'C')


def make_inputs(batch, length, dim, state, directions=0):
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    own = (directions,) if directions else ()
    inputs = dict(
        u=normal(batch, length, dim),
        delta=normal(batch, length, dim),
        A=-normal(dim, state).abs() - 0.05,
        B=normal(batch, *own, length, state),
        C=normal(batch, length, state),
        D=normal(dim),
        delta_bias=normal(dim),
    )
    if directions:
        orders = [torch.randperm(length, generator=generator) for _ in range(directions)]
        inputs['orders'] = torch.stack(orders)
    return {name: x.cuda() for name, x in inputs.items()}


def reference(inputs, order_all=True):
    orders = inputs.get('orders')
    tensors = {name: x for name, x in inputs.items() if name != 'orders'}
    args = canonical_arguments(
        **tensors, z=None, delta_softplus=True, channels_last=True, orders=orders,
        order_all=order_all,
    )  # fmt: skip
    return selective_scan_ref(**args._asdict())[0]


def fast(backend, order_all=True):
    def scan(inputs):
        return selective_scan(
            **inputs, delta_softplus=True, channels_last=True, order_all=order_all, backend=backend
        )

    return scan


def with_grads(scan, inputs, dtype, half=None):
    leaves = {}
    for name, x in inputs.items():
        if x.is_floating_point():
            x = x.to(half if half is not None and name in HALF else dtype).requires_grad_()
        leaves[name] = x
    out = scan(leaves)
    weights = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=torch.float64).cos()
    loss = (out.double() * weights.view_as(out)).sum()
    wanted = {name: x for name, x in leaves.items() if x.requires_grad}
    grads = torch.autograd.grad(loss, list(wanted.values()))
    return {'out': out.detach(), **dict(zip(wanted, grads, strict=True))}


def largest_error(got, want):
    assert torch.isfinite(got).all()
    return float((got.double() - want.double()).abs().max() / want.abs().max())


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_matches_reference(backend, shape):
    inputs = make_inputs(*shape)
    got = with_grads(fast(backend), inputs, torch.float32)
    want = with_grads(reference, inputs, torch.float64)
    for name in want:
        assert largest_error(got[name], want[name]) < 1e-4, name


@pytest.mark.parametrize('order_all', [True, False])
@pytest.mark.parametrize('backend', BACKENDS)
def test_directions_match_reference(backend, order_all):
    inputs = make_inputs(2, 196, 48, 16, directions=4)
    got = with_grads(fast(backend, order_all), inputs, torch.float32)
    want = with_grads(lambda x: reference(x, order_all), inputs, torch.float64)
    for name in want:
        assert largest_error(got[name], want[name]) < 1e-4, name


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_half_is_at_most_twice_as_wrong_as_plain_pytorch(backend, dtype):
    inputs = make_inputs(2, 196, 64, 16)
    rounded = {n: x.to(dtype).double() if n in HALF else x for n, x in inputs.items()}
    got = with_grads(fast(backend), inputs, torch.float32, half=dtype)
    plain = with_grads(reference, inputs, torch.float32, half=dtype)
    want = with_grads(reference, rounded, torch.float64)
    for name in want:
        limit = 2 * largest_error(plain[name], want[name])
        assert largest_error(got[name], want[name]) <= limit + 1e-5, name


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradients_are_the_same_in_every_run(backend):
    if backend == 'mamba_ssm':
        pytest.skip('mamba_ssm adds gradients up with atomics')
    inputs = make_inputs(8, 196, 96, 16)
    first = with_grads(fast(backend), inputs, torch.float32)
    again = with_grads(fast(backend), inputs, torch.float32)
    for name in first:
        assert torch.equal(first[name], again[name]), name


def test_offsets_beyond_32_bits():
    batch, length, dim = 3, 1024, 768 * 1024
    if torch.cuda.get_device_properties(0).total_memory < 32e9:
        pytest.skip('needs a GPU with 32 GB')
    u = torch.zeros(batch, length, dim, dtype=torch.float16, device='cuda')
    assert u.numel() > 2**31
    u[-1, :, -8:] = 1
    matrix = torch.ones(batch, length, 1, device='cuda', dtype=torch.float16)
    A = -torch.ones(dim, 1, device='cuda')
    out = selective_scan(u, u, A, matrix, matrix, channels_last=True, backend='triton')
    tail = slice(-8, None)
    want = selective_scan(
        u[-1:, :, tail], u[-1:, :, tail], A[tail], matrix[-1:], matrix[-1:], channels_last=True,
        backend='torch',
    )  # fmt: skip
    assert torch.allclose(out[-1:, :, tail], want, rtol=2e-3)
    assert not out[0].any()

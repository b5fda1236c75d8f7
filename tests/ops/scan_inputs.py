"""Inputs of scans for tests, and the reference behind the signature of the public function."""

import torch
import torch.nn.functional as F

from mmvmamba.ops.selective_scan import selective_scan, selective_scan_ref
from mmvmamba.ops.selective_scan.arguments import canonical_arguments
from mmvmamba.testing import assert_close, assert_half_close

# What carries an axis of directions, unless it is shared.
PER_DIRECTION = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
HALF = ('u', 'delta', 'B', 'C', 'z')
# Their kernels have no gradient of the last state.
WITHOUT_STATE_GRAD = ('mamba_ssm', 'hub')

# Sizes that nobody would pick for speed: batch, length, dim, state.
SHAPES = [(2, 1, 5, 1), (1, 2, 130, 8), (2, 63, 6, 16), (1, 196, 65, 32), (1, 1025, 3, 8)]

# What the families pass, and mixtures of it.
PLAIN_MAMBA = dict(directions=4, shared=('u', 'delta', 'A', 'C', 'D', 'delta_bias'))
DIRECTIONS = {
    'one reordered': dict(directions=1),
    'plain_mamba': PLAIN_MAMBA,
    'vim': dict(directions=2, shared=('u',)),
    'vmamba': dict(directions=4, shared=('u',), groups=2),
    'everything its own': dict(directions=3),
    'everything shared': dict(directions=3, shared=PER_DIRECTION),
    'own step sizes': dict(directions=3, shared=('u', 'A', 'B')),
    'own state matrix': dict(directions=2, shared=('u', 'delta', 'B', 'C', 'D', 'delta_bias')),
    'own bias': dict(directions=2, shared=('u', 'delta', 'A', 'C', 'D')),
}


def make_scan_inputs(
    batch, length, dim, state, directions=0, groups=0, shared=(), without=(), dtype=torch.float32,
    half=None, device='cpu',
):  # fmt: skip
    """Keyword arguments of ``selective_scan``, channels-last; ``directions`` 0 means no orders."""
    generator = torch.Generator().manual_seed(length * 1000 + dim)

    def normal(name, *shape):
        grouped = groups and name in ('B', 'C')
        if directions and (grouped or name not in shared):
            place = 0 if name in ('A', 'D', 'delta_bias') else 1
            shape = (*shape[:place], 1 if name in shared else directions, *shape[place:])
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    matrix = (batch, length, *((groups,) if groups else ()), state)
    inputs = dict(
        u=normal('u', batch, length, dim),
        delta=normal('delta', batch, length, dim),
        A=-normal('A', dim, state).abs() - 0.05,
        B=normal('B', *matrix),
        C=normal('C', *matrix),
        D=normal('D', dim),
        delta_bias=normal('delta_bias', dim),
    )
    inputs['z'] = torch.randn(batch, length, dim, generator=generator, dtype=torch.float64)
    inputs = {name: x.to(dtype) for name, x in inputs.items() if name not in without}
    if half is not None:
        inputs = {name: x.to(half) if name in HALF else x for name, x in inputs.items()}
    if directions:
        orders = [torch.randperm(length, generator=generator) for _ in range(directions)]
        inputs['orders'] = torch.stack(orders)
    # Drawn on the CPU: the same numbers on every device.
    return {name: x.to(device) for name, x in inputs.items()}


def reference_scan(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, orders=None,
    order_all=True,
):  # fmt: skip
    """``selective_scan`` in channels-last with the last states, by the reference."""
    args = canonical_arguments(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, True, orders, order_all
    )
    out, last_state = selective_scan_ref(**args._asdict())
    if z is not None:
        out = out * F.silu(z)
    return out, last_state if orders is not None else last_state[:, 0]


def run_with_grads(scan, inputs, state_grad=True, **options):
    """The output, the last states and the gradient of every floating-point input."""
    leaves = {
        name: x.detach().requires_grad_() if x.is_floating_point() else x
        for name, x in inputs.items()
    }
    out, last_state = scan(**leaves, **options)
    # Weights that differ from place to place, so that no gradient is right by symmetry.
    loss = (out.double() * _weights(out)).sum()
    if state_grad:
        loss = loss + (last_state.double() * _weights(last_state)).sum()
    differentiable = {name: x for name, x in leaves.items() if x.requires_grad}
    grads = torch.autograd.grad(loss, list(differentiable.values()))
    results = {f'd{name}': grad for name, grad in zip(differentiable, grads, strict=True)}
    return {'out': out.detach(), 'last_state': last_state.detach(), **results}


def fast_scan(backend):
    """The public function with the signature of ``reference_scan``."""

    def scan(**inputs):
        return selective_scan(**inputs, channels_last=True, return_last_state=True, backend=backend)

    return scan


def compare(backend, inputs, tolerance=None, **options):
    """Fails where a backend differs from the reference in float64, gradients included."""
    options['state_grad'] = backend not in WITHOUT_STATE_GRAD
    got = run_with_grads(fast_scan(backend), inputs, **options)
    want = run_with_grads(reference_scan, to_double(inputs), **options)
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].shape == want[name].shape, name
        if name.startswith('d'):
            assert got[name].dtype == inputs[name[1:]].dtype, name
        assert_close(got[name], want[name], name, tolerance)


def compare_half(backend, inputs, **options):
    """Fails where a backend errs more than twice as much as the reference in half precision."""
    options['state_grad'] = backend not in WITHOUT_STATE_GRAD
    got = run_with_grads(fast_scan(backend), inputs, **options)
    plain = run_with_grads(reference_scan, inputs, **options)
    want = run_with_grads(reference_scan, to_double(inputs), **options)
    for name in want:
        assert_half_close(got[name], plain[name], want[name], name)


def to_double(inputs):
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def _weights(x):
    return torch.linspace(-1, 1, x.numel(), dtype=torch.float64, device=x.device).view_as(x).cos()

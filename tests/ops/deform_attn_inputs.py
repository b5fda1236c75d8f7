"""Inputs of deformable attention for tests, and what is compared."""

import torch

from mmvmamba.ops.ms_deform_attn import ms_deform_attn, ms_deform_attn_ref
from mmvmamba.testing import assert_close, assert_half_close

# name: batch, queries, heads, channels, points, shapes of the levels. Sizes nobody would pick.
CASES = {
    'one cell': (1, 1, 1, 1, 1, [(1, 1)]),
    'one row': (1, 3, 1, 5, 2, [(1, 9)]),
    'three levels': (2, 7, 3, 5, 4, [(10, 13), (5, 7), (2, 3)]),
    'many queries': (1, 131, 2, 12, 3, [(6, 5), (3, 3)]),
    'wide heads': (1, 5, 2, 130, 2, [(4, 6)]),
}


def make_deform_attn_inputs(
    batch, queries, heads, channels, points, shapes, dtype=torch.float32, device='cpu'
):
    """Keyword arguments; some samples lie outside their map, some far outside."""
    generator = torch.Generator().manual_seed(1000 * queries + channels)
    tokens, samples = sum(h * w for h, w in shapes), (heads, len(shapes), points)
    locations = torch.rand(batch, queries, *samples, 2, generator=generator) * 1.6 - 0.3
    locations.view(-1)[5::17] *= 1e12
    inputs = dict(
        value=torch.randn(batch, tokens, heads, channels, generator=generator),
        locations=locations,
        weights=torch.rand(batch, queries, *samples, generator=generator) + 0.1,
    )
    return {name: x.to(device, dtype) for name, x in inputs.items()}


def make_half_inputs(case, half, device='cpu'):
    """As ``make_deform_attn_inputs``, without what lies far outside: it is infinite in float16,
    where plain PyTorch gives NaN."""
    inputs = make_deform_attn_inputs(*case, device=device)
    inputs['locations'] = inputs['locations'].clamp(-2, 3)
    return {name: x.to(half) for name, x in inputs.items()}


def run_with_grads(attend, inputs):
    """The output and the gradients of all inputs."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    out = attend(**leaves)
    # Weights that differ from place to place, so that no gradient is right by symmetry.
    upstream = torch.linspace(-1, 4, out.numel(), dtype=torch.float64, device=out.device).cos()
    loss = (out.double() * upstream.view_as(out)).sum()
    grads = torch.autograd.grad(loss, list(leaves.values()))
    named = {f'd{name}': grad for name, grad in zip(leaves, grads, strict=True)}
    return {'out': out.detach(), **named}


def fast(shapes, backend):
    def attend(value, locations, weights):
        return ms_deform_attn(value, shapes, locations, weights, backend=backend)

    return attend


def reference(shapes):
    def attend(value, locations, weights):
        return ms_deform_attn_ref(value, shapes, locations, weights)

    return attend


def compare(case, backend, inputs):
    """Fails where a backend differs from the reference in float64, gradients included."""
    got = run_with_grads(fast(case[-1], backend), inputs)
    assert_same(got, run_with_grads(reference(case[-1]), to_double(inputs)))


def compare_half(case, backend, inputs):
    """Fails where a backend errs more than twice as much as the reference in half precision."""
    got = run_with_grads(fast(case[-1], backend), inputs)
    plain = run_with_grads(reference(case[-1]), inputs)
    want = run_with_grads(reference(case[-1]), to_double(inputs))
    for name in want:
        assert_half_close(got[name], plain[name], want[name], name)


def compare_half_values(case, backend, inputs, half):
    """Fails where a backend does not sum values in half precision in float32."""
    inputs = {**inputs, 'value': inputs['value'].to(half)}
    got = run_with_grads(fast(case[-1], backend), inputs)
    want = run_with_grads(reference(case[-1]), to_double(inputs))
    assert [x.dtype for x in got.values()] == [half, half, torch.float32, torch.float32]
    # A rounding of the result, which is also that of the gradient that comes back.
    assert_same(got, want, tolerance=torch.finfo(half).eps)


def assert_same(got, want, tolerance=None):
    for name in want:
        assert got[name].shape == want[name].shape, name
        assert_close(got[name], want[name], name, tolerance)


def to_double(inputs):
    return {name: x.double() for name, x in inputs.items()}

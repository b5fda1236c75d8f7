"""Each backend that runs on this machine against the reference: outputs and every gradient."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmvmamba.ops.selective_scan import available_backends, selective_scan
from mmvmamba.testing import assert_close
from tests.ops.scan_inputs import (
    DIRECTIONS,
    PLAIN_MAMBA,
    SHAPES,
    compare,
    compare_half,
    fast_scan,
    make_scan_inputs,
    reference_scan,
    run_with_grads,
    to_double,
)

LOOPS = available_backends('cpu', torch.float32)
BACKENDS = [*LOOPS, 'export']


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_one_direction_matches_reference(backend, shape):
    compare(backend, make_scan_inputs(*shape), delta_softplus=True)


@pytest.mark.parametrize('order_all', [True, False], ids=['order all', 'order u'])
@pytest.mark.parametrize('case', DIRECTIONS)
@pytest.mark.parametrize('backend', BACKENDS)
def test_directions_match_reference(backend, case, order_all):
    inputs = make_scan_inputs(2, 67, 6, 3, **DIRECTIONS[case])
    compare(backend, inputs, order_all=order_all, delta_softplus=True)


@pytest.fixture
def threads():
    """Sets the number of torch's threads; puts it back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize('order_all', [True, False], ids=['order all', 'order u'])
@pytest.mark.parametrize('case', DIRECTIONS)
@pytest.mark.parametrize('backend', BACKENDS)
def test_the_number_of_threads_changes_nothing(backend, case, order_all, threads):
    # SiLU of the gate is torch's own, and rounds by how its threads share the tokens.
    inputs = make_scan_inputs(1, 5, 120, 2, **DIRECTIONS[case], without=('z',))
    results = []
    for number in (1, 2, 8):
        threads(number)
        results.append(
            run_with_grads(fast_scan(backend), inputs, order_all=order_all, delta_softplus=True)
        )
    for name, expected in results[0].items():
        assert all(torch.equal(expected, other[name]) for other in results[1:]), name


@pytest.mark.parametrize('backend', BACKENDS)
def test_wide_directions_match_reference(backend):
    inputs = make_scan_inputs(3, 20, 200, 16, **PLAIN_MAMBA)
    compare(backend, inputs, order_all=False, delta_softplus=True)


@pytest.mark.parametrize('delta_softplus', [True, False], ids=['softplus', 'plain'])
@pytest.mark.parametrize(
    'without', [('D',), ('z',), ('delta_bias',), ('D', 'z', 'delta_bias')], ids='+'.join
)
@pytest.mark.parametrize('backend', BACKENDS)
def test_optional_arguments(backend, without, delta_softplus):
    inputs = make_scan_inputs(2, 9, 5, 4, without=without)
    if not delta_softplus:
        inputs['delta'] = inputs['delta'].abs() * 0.1
    if not delta_softplus and 'delta_bias' in inputs:
        inputs['delta_bias'] = inputs['delta_bias'].abs() * 0.1
    compare(backend, inputs, delta_softplus=delta_softplus)


@pytest.mark.parametrize('groups', [1, 2, 3])
@pytest.mark.parametrize('backend', BACKENDS)
def test_groups_match_reference(backend, groups):
    compare(backend, make_scan_inputs(2, 9, 132, 4, groups=groups), delta_softplus=True)


# To the last bit, which plain operators do not promise in another layout.
@pytest.mark.parametrize('backend', LOOPS)
def test_channels_first_is_the_same_scan(backend):
    inputs = make_scan_inputs(2, 21, 70, 8, directions=2, groups=2, without=('z',))
    expected, states = fast_scan(backend)(**inputs, delta_softplus=True)
    first = dict(inputs)
    for name in ('u', 'delta'):
        first[name] = inputs[name].transpose(-1, -2).contiguous()
    for name in ('B', 'C'):
        first[name] = inputs[name].movedim(-3, -1).contiguous()
    got, got_states = selective_scan(
        **first, delta_softplus=True, return_last_state=True, backend=backend
    )
    assert torch.equal(got, expected.transpose(1, 2))
    assert torch.equal(got_states, states)


@pytest.mark.parametrize('backend', BACKENDS)
def test_channels_first_gradients_match_reference(backend):
    inputs = make_scan_inputs(2, 21, 70, 8)
    turned = ('u', 'delta', 'B', 'C', 'z')

    def scan(**values):
        values = {k: x.transpose(1, 2) if k in turned else x for k, x in values.items()}
        out, last_state = selective_scan(**values, return_last_state=True, backend=backend)
        return out.transpose(1, 2), last_state

    got = run_with_grads(scan, inputs, delta_softplus=True)
    want = run_with_grads(reference_scan, to_double(inputs), delta_softplus=True)
    for name in want:
        assert_close(got[name], want[name], name)


@pytest.mark.parametrize('backend', BACKENDS)
def test_non_contiguous_inputs(backend):
    inputs = make_scan_inputs(2, 17, 66, 4, directions=2, shared=('u', 'C'))
    strided = {}
    for name, x in inputs.items():
        if name == 'orders':
            strided[name] = x.t().contiguous().t()
        elif name in ('B', 'delta'):
            strided[name] = x.transpose(0, -1).contiguous().transpose(0, -1)
        else:
            strided[name] = torch.stack([x, x + 1], dim=-1)[..., 0]
        assert not strided[name].is_contiguous()
    compare(backend, strided, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
def test_expanded_inputs_and_gradients(backend):
    inputs = make_scan_inputs(3, 11, 8, 4, without=('z',))
    leaf = inputs['B'][:1].clone().requires_grad_()
    out, _ = fast_scan(backend)(**{**inputs, 'B': leaf.expand(3, -1, -1)})
    # The gradient of a sum arrives as an expanded scalar.
    (got,) = torch.autograd.grad(out.sum(), leaf)
    double = leaf.detach().double().requires_grad_()
    out, _ = reference_scan(**{**to_double(inputs), 'B': double.expand(3, -1, -1)})
    (want,) = torch.autograd.grad(out.sum(), double)
    assert_close(got, want, 'dB')


@pytest.mark.parametrize('half', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_half_precision_errs_at_most_twice_as_much_as_plain_pytorch(backend, half):
    compare_half(backend, make_scan_inputs(2, 63, 66, 16, half=half), delta_softplus=True)


@pytest.mark.parametrize('name', ['u', 'delta', 'B', 'C'])
@pytest.mark.parametrize('backend', BACKENDS)
def test_nan_stays_where_the_reference_has_it(backend, name):
    inputs = make_scan_inputs(2, 12, 66, 4, without=('z',))
    inputs[name][1, 5, 2] = float('nan')
    got, got_state = fast_scan(backend)(**inputs, delta_softplus=True)
    want, want_state = reference_scan(**inputs, delta_softplus=True)
    assert want.isnan().any()
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got_state.isnan(), want_state.isnan())


@pytest.mark.parametrize('delta_softplus', [True, False], ids=['softplus', 'plain'])
@pytest.mark.parametrize('size', [1e-6, 50.0, 1e4])
@pytest.mark.parametrize('backend', BACKENDS)
def test_extreme_step_sizes(backend, size, delta_softplus):
    inputs = make_scan_inputs(2, 12, 6, 4, without=('delta_bias',))
    inputs['delta'] = torch.full_like(inputs['delta'], size)
    compare(backend, inputs, delta_softplus=delta_softplus)


@pytest.mark.parametrize('sign', [-1, 1])
@pytest.mark.parametrize('backend', BACKENDS)
def test_extreme_raw_step_sizes_pass_softplus(backend, sign):
    inputs = make_scan_inputs(2, 12, 6, 4, without=('delta_bias',))
    inputs['delta'] = sign * torch.linspace(0, 80, inputs['delta'].numel()).view(2, 12, 6)
    compare(backend, inputs, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
def test_growing_states_overflow_to_infinity(backend):
    inputs = make_scan_inputs(1, 4, 3, 2, without=('z', 'delta_bias', 'D'))
    inputs = {**inputs, 'A': -inputs['A'], 'delta': torch.full_like(inputs['delta'], 1e4)}
    got, _ = fast_scan(backend)(**inputs)
    want, _ = reference_scan(**inputs)
    assert torch.equal(got.isfinite(), want.isfinite())


def test_float64_is_computed_in_float64():
    inputs = make_scan_inputs(2, 70, 6, 4, directions=2, dtype=torch.float64)
    compare('auto', inputs, delta_softplus=True)
    assert available_backends('cpu', torch.float64)[-1] == 'torch'


@pytest.mark.parametrize('backend', BACKENDS)
def test_results_are_the_same_in_every_run(backend):
    inputs = make_scan_inputs(2, 70, 130, 4, **PLAIN_MAMBA)
    options = dict(order_all=False, delta_softplus=True)
    first, second = (run_with_grads(fast_scan(backend), inputs, **options) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize('backend', BACKENDS)
def test_results_do_not_depend_on_the_number_of_threads(backend):
    inputs = make_scan_inputs(1, 20, 6, 4, directions=4)
    threads = torch.get_num_threads()
    try:
        # With fewer tasks than threads, the directions are dealt to threads too.
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(run_with_grads(fast_scan(backend), inputs, delta_softplus=True))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for name in other:
            assert_close(other[name], results[0][name], name, 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_two_threads_may_scan_at_once(backend):
    inputs = make_scan_inputs(4, 30, 70, 8)
    scan = fast_scan(backend)
    alone, _ = scan(**inputs, delta_softplus=True)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: scan(**inputs, delta_softplus=True)[0], range(16)))
    assert all(torch.equal(out, alone) for out in together)


@pytest.mark.parametrize('backend', BACKENDS)
def test_arguments_are_not_changed(backend):
    inputs = make_scan_inputs(2, 9, 5, 4, directions=2)
    copies = {name: x.clone() for name, x in inputs.items()}
    run_with_grads(fast_scan(backend), inputs, delta_softplus=True)
    for name, x in inputs.items():
        assert torch.equal(x, copies[name]), name


@pytest.mark.parametrize('backend', BACKENDS)
def test_empty_batch(backend):
    inputs = make_scan_inputs(0, 9, 5, 4)
    got = run_with_grads(fast_scan(backend), inputs, delta_softplus=True)
    assert got['out'].shape == (0, 9, 5)
    assert got['dA'].shape == (5, 4)
    assert not got['dA'].any()

"""The scan in plain operators: exact, small, without loops, and what traces it."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmvmamba.ops.selective_scan import (
    available_backends,
    scan_backend,
    scan_decompositions,
    selective_scan,
)
from mmvmamba.ops.selective_scan import torch as torch_backend
from mmvmamba.testing import assert_close
from tests.ops.scan_inputs import (
    DIRECTIONS,
    fast_scan,
    make_scan_inputs,
    reference_scan,
    run_with_grads,
    to_double,
)

OPERATOR = torch.ops.mmvmamba.selective_scan.default
LENGTHS = (1, 2, 49, 64, 65, 196, 197, 1024, 4200)


@pytest.fixture(autouse=True)
def fresh_memory_is_nan():
    """Tracing calls torch's own allocation functions."""


class Scan(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = dict(delta_softplus=True, channels_last=True, **options)

    def forward(self, inputs):
        return selective_scan(**inputs, **self.options)


def exported(inputs, backend='export', **options):
    with torch.no_grad(), scan_backend(backend):
        return torch.export.export(Scan(**options), (inputs,), strict=False)


def calls(program):
    return [node.target for node in program.graph.nodes if node.op == 'call_function']


@pytest.mark.parametrize('length', LENGTHS)
def test_exact_to_the_reference_in_float64(length):
    inputs = to_double(make_scan_inputs(1, length, 3, 2, directions=2))
    got, got_state = fast_scan('export')(**inputs, delta_softplus=True)
    want, want_state = reference_scan(**inputs, delta_softplus=True)
    assert got.dtype == torch.float64
    assert_close(got, want, 'out')
    assert_close(got_state, want_state, 'last state')


@pytest.mark.parametrize('order_all', [True, False], ids=['order all', 'order u'])
@pytest.mark.parametrize('case', DIRECTIONS)
def test_exact_with_the_directions_of_every_family(case, order_all):
    inputs = to_double(make_scan_inputs(2, 130, 6, 3, **DIRECTIONS[case]))
    options = dict(order_all=order_all, delta_softplus=True)
    got, want = (scan(**inputs, **options) for scan in (fast_scan('export'), reference_scan))
    assert_close(got[0], want[0], 'out')
    assert_close(got[1], want[1], 'last state')


def test_channels_first_is_the_same_scan():
    inputs = make_scan_inputs(2, 70, 6, 8, directions=2, groups=2, without=('z',))
    want, _ = fast_scan('export')(**inputs, delta_softplus=True)
    first = dict(inputs)
    for name in ('u', 'delta'):
        first[name] = inputs[name].transpose(-1, -2)
    for name in ('B', 'C'):
        first[name] = inputs[name].movedim(-3, -1)
    got = selective_scan(**first, delta_softplus=True, backend='export')
    assert_close(got, want.transpose(1, 2), 'out', 1e-6)


@pytest.mark.skipif(
    torch.__version__ < (2, 9), reason='older graphs keep conversions that change nothing'
)
@pytest.mark.parametrize(('length', 'nodes'), [(49, 109), (196, 133), (1024, 229), (4200, 244)])
def test_number_of_operators(length, nodes):
    # With four directions, as in PlainMamba and VMamba: the figures in the scan's README.
    program = exported(make_scan_inputs(1, length, 4, 2, directions=4, without=('z',)))
    assert OPERATOR not in calls(program)
    # Neither the picking of one result of several nor torch's own assertions compute anything.
    operators = [f for f in calls(program) if isinstance(f, torch._ops.OpOverload)]
    assert len([f for f in operators if '_assert_' not in f.name()]) == nodes


def test_no_division_no_running_product_and_no_factor_above_one():
    names, largest = set(), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            names.add(function.__name__)
            if function is torch.ops.aten.exp.default:
                largest.append(result.max().item())
            return result

    inputs = make_scan_inputs(2, 200, 5, 4, directions=2)
    with Watch():
        fast_scan('export')(**inputs, delta_softplus=True)
    assert largest and max(largest) <= 1
    assert not [name for name in names if name.startswith(('div', 'reciprocal', 'cum', 'log'))]


def test_it_runs_only_where_it_is_asked_for(monkeypatch):
    assert 'export' not in available_backends('cpu')
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'export')
    inputs = make_scan_inputs(1, 9, 3, 2, without=('z',))
    assert OPERATOR not in calls(exported(inputs, backend='export'))
    assert OPERATOR in calls(exported(inputs, backend='auto'))


@pytest.mark.filterwarnings('ignore:.isinstance.treespec:FutureWarning')  # torch's own
def test_an_export_keeps_the_operator_and_takes_it_apart_on_request():
    inputs = make_scan_inputs(2, 70, 6, 4, directions=2)
    program = exported(inputs, backend='auto')
    assert calls(program).count(OPERATOR) == 1
    plain = program.run_decompositions(scan_decompositions())
    assert OPERATOR not in calls(plain)
    want, _ = reference_scan(**inputs, delta_softplus=True)
    assert_close(plain.module()(inputs), want, 'out')


@pytest.mark.filterwarnings('ignore:.isinstance.treespec:FutureWarning')
def test_a_scan_that_was_exported_for_training_is_not_taken_apart():
    inputs = make_scan_inputs(1, 9, 3, 2, without=('z',))
    inputs['A'] = inputs['A'].requires_grad_()
    program = torch.export.export(Scan(backend='torch'), (inputs,))
    with pytest.raises(ValueError, match=r'export the model under torch\.no_grad\(\)'):
        program.run_decompositions(scan_decompositions())


def test_the_batch_may_be_free():
    inputs = make_scan_inputs(2, 70, 6, 4, without=('z',))
    batch = torch.export.Dim('batch', min=1, max=64)
    shapes = {name: {0: batch} if name in ('u', 'delta', 'B', 'C') else {} for name in inputs}
    with torch.no_grad(), scan_backend('export'):
        program = torch.export.export(Scan(), (inputs,), dynamic_shapes=(shapes,))
    other = {**inputs, **make_scan_inputs(5, 70, 6, 4, without=('z', 'A', 'D', 'delta_bias'))}
    want, _ = reference_scan(**other, delta_softplus=True)
    assert_close(program.module()(other), want, 'out')


def test_compiled_code_may_ask_for_it_when_it_runs(monkeypatch):
    inputs = make_scan_inputs(1, 70, 3, 2, without=('z',))
    compiled = torch.compile(Scan(), fullgraph=True, backend='aot_eager')
    want, _ = reference_scan(**inputs, delta_softplus=True)
    with scan_backend('export'):
        with torch.no_grad():
            assert_close(compiled(inputs), want, 'out')
        # For gradients the states are kept as every backend keeps them.
        grads = run_with_grads(lambda **x: (compiled(x), torch.zeros(1)), inputs, False)
    expected = run_with_grads(reference_scan, inputs, False, delta_softplus=True)
    for name in ('out', *(f'd{name}' for name in inputs)):
        assert_close(grads[name], expected[name], name)


def test_a_backend_that_runs_only_on_request_is_never_automatic(monkeypatch):
    monkeypatch.setattr(torch_backend, 'unavailable_reason', lambda *_: 'not here')
    assert 'export' not in available_backends('cpu', torch.float64)


@pytest.mark.parametrize('backend', ['auto', 'torch', 'export'])
def test_gradients_by_torch_func(backend):
    inputs = make_scan_inputs(2, 70, 6, 4, directions=2, without=('z',))
    rest = {name: x for name, x in inputs.items() if name != 'u'}

    def loss(u):
        out = selective_scan(u, **rest, delta_softplus=True, channels_last=True, backend=backend)
        return out.cos().sum()

    u = inputs['u'].requires_grad_()
    (want,) = torch.autograd.grad(loss(u), u)
    gradient, value = torch.func.grad_and_value(loss)(u.detach())
    assert_close(gradient, want, 'du', 1e-5)
    assert_close(value, loss(u).detach(), 'loss', 1e-5)


def test_second_derivatives_by_torch_func_are_those_of_plain_operators():
    inputs = make_scan_inputs(1, 6, 3, 2, without=('z', 'u'))

    def slope(u, backend):
        def total(u):
            scan = selective_scan(u, **inputs, channels_last=True, backend=backend)
            return scan.square().sum()

        return torch.func.grad(total)(u).sum()

    u = torch.linspace(-1, 1, 18).view(1, 6, 3)
    assert torch.func.grad(slope)(u, 'export').abs().max() > 0
    with pytest.raises(NotImplementedError, match='second derivatives'):
        torch.func.grad(slope)(u, 'torch')

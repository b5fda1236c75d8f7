"""What PyTorch sees of the scan: one operator for compile, export, counting and checkpointing."""

import pytest
import torch
from torch import nn
from torch._dynamo import lookup_backend
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mmvmamba.ops.flops import selective_scan_backward_flops, selective_scan_flops
from mmvmamba.ops.selective_scan import scan_backend, selective_scan
from mmvmamba.ops.selective_scan import torch as torch_backend
from mmvmamba.ops.selective_scan.arguments import canonical_arguments
from tests.ops.scan_inputs import make_scan_inputs, run_with_grads

OPERATOR = torch.ops.mmvmamba.selective_scan.default


@pytest.fixture(autouse=True)
def fresh_memory_is_nan():
    """Tracing calls torch's own allocation functions."""


class Mixer(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.A = nn.Parameter(make_scan_inputs(1, 1, 8, 4)['A'])
        self.D = nn.Parameter(torch.linspace(0, 1, 8))
        self.options = options

    def forward(self, u, delta, B, C, z):
        y = selective_scan(
            u.sin(), delta, self.A, B, C, self.D, z, delta_softplus=True, channels_last=True,
            **self.options,
        )  # fmt: skip
        return 2 * y


def mixer_inputs(length=9):
    inputs = make_scan_inputs(2, length, 8, 4)
    return [inputs[name] for name in ('u', 'delta', 'B', 'C', 'z')]


def grads_of(mixer, output):
    return torch.autograd.grad(output.cos().sum(), list(mixer.parameters()))


@pytest.mark.parametrize('chunk_length', [0, 64])
@pytest.mark.parametrize('directions', [0, 2])
def test_opcheck(directions, chunk_length):
    inputs = make_scan_inputs(2, 70, 6, 4, directions=directions, without=('z',))
    args = canonical_arguments(
        **inputs, z=None, delta_softplus=True, channels_last=True, order_all=True,
        **({} if directions else {'orders': None}),
    )  # fmt: skip
    args = [
        x.detach().requires_grad_(chunk_length > 0)
        if isinstance(x, torch.Tensor) and x.is_floating_point()
        else x
        for x in args
    ]
    opcheck(OPERATOR, (*args, 'torch', chunk_length, True))


def test_compiles_without_a_graph_break():
    mixer, inputs = Mixer(), mixer_inputs()
    compiled = torch.compile(mixer, fullgraph=True, backend='aot_eager')
    actual, expected = compiled(*inputs), mixer(*inputs)
    torch.testing.assert_close(actual, expected)
    for a, b in zip(grads_of(mixer, actual), grads_of(mixer, expected), strict=True):
        torch.testing.assert_close(a, b)


def test_compiled_code_follows_a_forced_backend(monkeypatch):
    mixer, inputs = Mixer(), [x.requires_grad_() for x in mixer_inputs()]
    ran, graphs = [], []
    for name in ('forward', 'backward'):
        function = getattr(torch_backend, name)

        def recorded(*args, _function=function, _name=name):
            ran.append(_name)
            return _function(*args)

        monkeypatch.setattr(torch_backend, name, recorded)

    def count(graph, example_inputs):
        graphs.append(graph)
        return lookup_backend('aot_eager')(graph, example_inputs)

    compiled = torch.compile(mixer, fullgraph=True, backend=count)
    compiled(*inputs).sum().backward()
    assert ran == []
    with scan_backend('torch'):
        compiled(*inputs).sum().backward()
    assert ran == ['forward', 'backward']
    assert len(graphs) == 1


def test_exports_as_one_node_with_free_sizes():
    mixer = Mixer()
    batch, length = torch.export.Dim('batch', max=64), torch.export.Dim('length', max=4096)
    with torch.no_grad():
        program = torch.export.export(
            mixer, tuple(mixer_inputs()), dynamic_shapes=({0: batch, 1: length},) * 5
        )
    assert [node.target for node in program.graph.nodes].count(OPERATOR) == 1
    longer = mixer_inputs(length=70)
    torch.testing.assert_close(program.module()(*longer), mixer(*longer))


@pytest.mark.parametrize('use_reentrant', [False, True])
def test_activation_checkpointing_changes_nothing(use_reentrant):
    mixer, inputs = Mixer(), mixer_inputs()
    inputs[0].requires_grad_()
    expected = grads_of(mixer, mixer(*inputs))
    output = checkpoint(mixer, *inputs, use_reentrant=use_reentrant)
    mixer.zero_grad()
    output.cos().sum().backward()
    for parameter, grad in zip(mixer.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, grad)


@pytest.mark.parametrize('backend', ['torch', 'numba'])
def test_autocast_leaves_the_scan_in_float32(backend):
    inputs = make_scan_inputs(2, 9, 8, 4, directions=2, half=torch.bfloat16)

    def scan(**tensors):
        return selective_scan(
            **tensors, delta_softplus=True, channels_last=True, return_last_state=True,
            backend=backend,
        )  # fmt: skip

    expected = run_with_grads(scan, inputs)
    with torch.autocast('cpu', torch.bfloat16):
        got = run_with_grads(scan, inputs)
    assert got['last_state'].dtype == torch.float32
    assert got['out'].dtype == torch.bfloat16
    for name in expected:
        assert torch.equal(got[name], expected[name]), name


def test_backends_run_outside_of_autocast(monkeypatch):
    enabled = []
    for step in ('forward', 'backward'):
        function = getattr(torch_backend, step)

        def recorded(*args, _function=function):
            enabled.append(torch.is_autocast_enabled('cpu'))
            return _function(*args)

        monkeypatch.setattr(torch_backend, step, recorded)
    inputs = make_scan_inputs(1, 3, 2, 2)
    inputs['u'].requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        selective_scan(**inputs, channels_last=True, backend='torch').sum().backward()
    assert enabled == [False, False]


def test_no_checkpoints_are_kept_without_gradients():
    inputs = make_scan_inputs(2, 70, 6, 4, without=('z',))
    args = canonical_arguments(
        **inputs, z=None, delta_softplus=True, channels_last=True, orders=None, order_all=True
    )
    _, last_state, checkpoints = OPERATOR(*args, 'torch', 0, False)
    assert last_state.numel() == checkpoints.numel() == 0
    _, last_state, checkpoints = OPERATOR(*args, 'torch', 64, True)
    assert last_state.shape == (2, 1, 6, 4)
    assert checkpoints.shape == (2, 1, 2, 4, 6)
    assert not checkpoints[:, :, 0].any()


@pytest.mark.parametrize('half', [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize('directions', [0, 2])
def test_evaluation_takes_one_operator_and_changes_nothing(directions, half):
    inputs = make_scan_inputs(2, 9, 70, 4, directions=directions, half=half)
    options = dict(channels_last=True, delta_softplus=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        got = selective_scan(**inputs, **options)
        with torch.autocast('cpu', torch.bfloat16):
            beside_autocast = selective_scan(**inputs, **options)
    assert list(counter.get_flop_counts()['Global']) == [torch.ops.mmvmamba.gated_scan]
    assert torch.equal(got, selective_scan(**inputs, **options))
    assert torch.equal(got, beside_autocast)


def test_forward_keeps_little_for_the_backward_pass():
    inputs = make_scan_inputs(1, 256, 8, 16, without=('z',))
    inputs = {name: x.requires_grad_() for name, x in inputs.items()}
    kept = []

    def pack(x):
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        selective_scan(**inputs, channels_last=True, delta_softplus=True)
    # All states would be 256 * 8 * 16 numbers; one of 64 is kept.
    checkpoints = 256 // 64 * 8 * 16
    assert sum(kept) == sum(x.numel() for x in inputs.values()) + checkpoints


@pytest.mark.parametrize('directions', [0, 3])
def test_flops_are_counted(directions):
    inputs = make_scan_inputs(2, 9, 8, 4, directions=directions)
    inputs['u'].requires_grad_()
    with FlopCounterMode(display=False) as counter:
        y = selective_scan(**inputs, channels_last=True)
    sizes = (2, 9, 8, 4, max(directions, 1))
    assert counter.get_total_flops() == selective_scan_flops(*sizes)
    assert counter.get_total_flops() == 9 * 2 * 9 * 8 * 4 * max(directions, 1)
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() == selective_scan_backward_flops(*sizes)


def test_gradients_stop_where_none_is_wanted():
    inputs = make_scan_inputs(2, 9, 8, 4)
    inputs['delta'].requires_grad_()
    selective_scan(**inputs, channels_last=True, delta_softplus=True).sum().backward()
    assert inputs['delta'].grad.isfinite().all()
    assert all(x.grad is None for name, x in inputs.items() if name != 'delta')

"""Deformable attention: backends against the reference, their choice, and what PyTorch sees."""

import logging
import types

import pytest
import torch

from mmvmamba.compat import mmcv_ops
from mmvmamba.ops.ms_deform_attn import (
    available_backends,
    deform_attn_backend,
    dispatch,
    mmcv,
    ms_deform_attn,
    ms_deform_attn_ref,
)
from mmvmamba.ops.ms_deform_attn import numba as numba_backend
from mmvmamba.ops.ms_deform_attn import torch as torch_backend
from tests.ops.deform_attn_inputs import (
    CASES,
    assert_same,
    compare,
    compare_half,
    compare_half_values,
    fast,
    make_deform_attn_inputs,
    make_half_inputs,
    reference,
    run_with_grads,
    to_double,
)

BACKENDS = available_backends('cpu')
needs_numba = pytest.mark.skipif('numba' not in BACKENDS, reason='numba is not installed')
CUDA = torch.device('cuda')
SMALL = CASES['three levels']
SHAPES = SMALL[-1]


@pytest.fixture
def compiled_mmcv(monkeypatch):
    """A compiled mmcv whose kernel runs on the CPU: it checks what it gets and calls ours."""

    def check(value, sizes, starts, locations, weights, im2col_step):
        assert value.shape[0] % im2col_step == 0
        assert starts.tolist() == [0, *(sizes.prod(1).cumsum(0)[:-1].tolist())]
        assert value.dtype == locations.dtype == weights.dtype
        assert all(x.is_contiguous() for x in (value, locations, weights))

    def forward(*args, im2col_step):
        check(*args, im2col_step)
        with deform_attn_backend('torch'):
            return mmcv_ops.ms_deform_attn_forward(*args, im2col_step)

    def backward(value, sizes, starts, locations, weights, grad_out, *grads, im2col_step):
        check(value, sizes, starts, locations, weights, im2col_step)
        assert all(not x.any() for x in grads)
        found = torch_backend.backward(value, sizes.tolist(), locations, weights, grad_out)
        for grad, x in zip(grads, found, strict=True):
            grad.copy_(x)

    operators = types.SimpleNamespace(
        ms_deform_attn_forward=forward, ms_deform_attn_backward=backward
    )
    monkeypatch.setattr(mmcv, '_load', lambda: (operators, None))
    monkeypatch.setattr(mmcv, 'unavailable_reason', lambda *args: None)
    mmcv._self_test.cache_clear()
    yield operators
    mmcv._self_test.cache_clear()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('backend', BACKENDS)
def test_matches_reference(backend, case, dtype):
    compare(CASES[case], backend, make_deform_attn_inputs(*CASES[case], dtype=dtype))


@pytest.mark.parametrize('half', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_half_precision_errs_at_most_twice_as_much_as_plain_pytorch(backend, half):
    compare_half(SMALL, backend, make_half_inputs(SMALL, half))


@pytest.mark.parametrize('half', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_half_values_are_summed_in_float32(backend, half):
    compare_half_values(SMALL, backend, make_deform_attn_inputs(*SMALL), half)


@pytest.mark.parametrize('backend', BACKENDS)
def test_non_contiguous_inputs(backend):
    inputs = make_deform_attn_inputs(*SMALL)
    views = {name: torch.stack([x, -x], dim=-1)[..., 0] for name, x in inputs.items()}
    assert not views['value'].is_contiguous()
    got = run_with_grads(fast(SHAPES, backend), views)
    assert_same(got, run_with_grads(fast(SHAPES, backend), inputs), tolerance=1e-6)


@needs_numba
def test_threads_change_no_bit():
    inputs = make_deform_attn_inputs(*CASES['many queries'])
    shapes, threads = CASES['many queries'][-1], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        want = run_with_grads(fast(shapes, 'numba'), inputs)
        torch.set_num_threads(3)
        got = run_with_grads(fast(shapes, 'numba'), inputs)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(got[name], want[name]) for name in want)


@needs_numba
def test_samples_at_no_number_show_in_the_result():
    inputs = make_deform_attn_inputs(*SMALL)
    inputs['locations'][0, 3, 1, 2, 0, 1] = float('nan')
    spoiled = fast(SHAPES, 'numba')(**inputs).unflatten(2, (3, 5)).isnan()
    assert spoiled[0, 3, 1].all()
    assert spoiled.sum() == 5


@pytest.mark.parametrize('empty', ['batch', 'queries', 'points'])
def test_nothing_to_sample(empty):
    sizes = dict(zip(('batch', 'queries', 'heads', 'channels', 'points'), SMALL, strict=False))
    sizes[empty] = 0
    value = torch.randn(sizes['batch'], 171, 3, 5)
    locations = torch.rand(sizes['batch'], sizes['queries'], 3, 3, sizes['points'], 2)
    inputs = dict(value=value, locations=locations, weights=locations[..., 0])
    got = run_with_grads(fast(SHAPES, None), inputs)
    assert got['out'].shape == (sizes['batch'], sizes['queries'], 15)
    assert not got['out'].any()
    assert not got['dvalue'].any()


def test_operators_are_well_behaved():
    inputs = make_deform_attn_inputs(*CASES['one row'], dtype=torch.float64)
    value, locations, weights = (x.requires_grad_() for x in inputs.values())
    torch.library.opcheck(
        torch.ops.mmvmamba.ms_deform_attn, (value, [1, 9], locations, weights, 'torch')
    )


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradients(backend):
    inputs = make_deform_attn_inputs(*CASES['one row'], dtype=torch.float64)
    leaves = [x.requires_grad_() for x in inputs.values()]
    assert torch.autograd.gradcheck(fast([(1, 9)], backend), leaves)


def test_compiles_without_a_graph_break():
    inputs = make_deform_attn_inputs(*SMALL)

    def attend(value, locations, weights):
        return 2 * ms_deform_attn(value + 1, SHAPES, locations, weights.softmax(-1))

    compiled = torch.compile(attend, fullgraph=True, backend='aot_eager')
    assert_same(run_with_grads(compiled, inputs), run_with_grads(attend, inputs))


def test_graphs_that_leave_pytorch_have_plain_operators():
    inputs = make_deform_attn_inputs(*SMALL)

    class Attention(torch.nn.Module):
        def forward(self, value, locations, weights):
            return ms_deform_attn(value, SHAPES, locations, weights)

    with torch.no_grad(), deform_attn_backend('export'):
        program = torch.export.export(Attention(), tuple(inputs.values()), strict=False)
    names = [str(node.target) for node in program.graph.nodes if node.op == 'call_function']
    assert any('grid_sampler' in name for name in names)
    assert not [name for name in names if 'mmvmamba' in name]
    want = ms_deform_attn_ref(shapes=SHAPES, **inputs)
    torch.testing.assert_close(program.module()(*inputs.values()), want)
    assert 'export' not in available_backends('cpu')


def test_sums_stay_in_float32_under_autocast():
    inputs = make_deform_attn_inputs(*SMALL)
    want = fast(SHAPES, None)(**inputs)
    with torch.autocast('cpu', torch.bfloat16):
        got = fast(SHAPES, None)(**inputs)
    assert torch.equal(got, want)


class TestChoice:
    """The argument, the context, the environment, and what cannot run."""

    @pytest.fixture
    def ran(self, monkeypatch, compiled_mmcv):
        """Names of the backends that ran; mmcv's can."""
        names = []
        for name, module in (('mmcv', mmcv), ('torch', torch_backend)):
            for step in ('forward', 'backward'):
                function = getattr(module, step)

                def recorded(*args, _function=function, _name=f'{name} {step}'):
                    names.append(_name)
                    return _function(*args)

                monkeypatch.setattr(module, step, recorded)
        return names

    def attend(self, **options):
        value, locations, weights = make_deform_attn_inputs(*CASES['one row']).values()
        return ms_deform_attn(value.requires_grad_(), [(1, 9)], locations, weights, **options)

    def test_auto_prefers_compiled_code(self, ran):
        self.attend()
        assert ran[0] == 'mmcv forward'

    @needs_numba
    def test_auto_takes_kernels_on_a_cpu(self):
        assert available_backends('cpu')[0] == 'numba'

    def test_plain_operators_serve_where_numba_is_absent(self, monkeypatch):
        monkeypatch.setattr(numba_backend, 'has_numba', lambda: False)
        assert available_backends('cpu') == ['torch']
        with pytest.raises(RuntimeError, match='install it with: pip install numba'):
            self.attend(backend='numba')

    def test_argument_wins_over_context_over_environment(self, ran, monkeypatch):
        monkeypatch.setenv('MMVMAMBA_DEFORM_ATTN_BACKEND', 'torch')
        self.attend()
        assert ran == ['torch forward']
        with deform_attn_backend('mmcv'):
            self.attend()
            assert ran[1] == 'mmcv forward'
            self.attend(backend='torch')
        assert ran[-1] == 'torch forward'

    def test_backward_pass_uses_the_backend_of_the_forward_pass(self, ran):
        with deform_attn_backend('torch'):
            out = self.attend()
        out.sum().backward()
        assert ran == ['torch forward', 'torch backward']

    def test_names_are_checked(self, monkeypatch):
        with pytest.raises(ValueError, match=r"deform_attn_backend must be one of .*, got 'fast'"):
            deform_attn_backend('fast').__enter__()
        monkeypatch.setenv('MMVMAMBA_DEFORM_ATTN_BACKEND', 'fast')
        with pytest.raises(
            ValueError, match=r"MMVMAMBA_DEFORM_ATTN_BACKEND must be one of .*, got 'fast'"
        ):
            self.attend()

    def test_choice_is_logged_once(self, caplog, monkeypatch):
        monkeypatch.setattr(dispatch.DEFORM_ATTN, 'logged', set())
        with caplog.at_level(logging.INFO, logger='mmvmamba.ops.ms_deform_attn.dispatch'):
            self.attend(backend='torch')
            self.attend(backend='torch')
        assert [record.getMessage() for record in caplog.records] == [
            'deformable attention: backend torch for torch.float32 on cpu'
        ]


class TestMmcv:
    """The adapter to a compiled mmcv."""

    @pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
    def test_adapter_matches_reference(self, compiled_mmcv, dtype):
        inputs = make_deform_attn_inputs(*SMALL, dtype=dtype)
        got = run_with_grads(fast(SHAPES, 'mmcv'), inputs)
        assert_same(got, run_with_grads(reference(SHAPES), to_double(inputs)))

    def test_half_is_computed_in_float32(self, compiled_mmcv):
        inputs = make_deform_attn_inputs(*SMALL, dtype=torch.bfloat16)
        inputs['locations'] = inputs['locations'].clamp(-2, 3)
        got = run_with_grads(fast(SHAPES, 'mmcv'), inputs)
        want = run_with_grads(fast(SHAPES, 'torch'), inputs)
        assert_same(got, want, tolerance=torch.finfo(torch.bfloat16).eps)

    def test_launches_divide_the_batch_and_fit_into_32_bits(self):
        def images(batch, tokens):
            value = torch.empty(1).expand(batch, tokens, 8, 32)
            locations = torch.empty(1).expand(batch, 9, 8, 3, 4, 2)
            return mmcv._images((value, None, None, locations))

        assert images(6, 1000) == 6
        assert images(6, 3_500_000) == 2
        assert images(7, 2**22) == 1

    def test_it_is_tested_before_use(self, compiled_mmcv):
        assert mmcv._self_test('cpu') is None
        right = compiled_mmcv.ms_deform_attn_forward
        mmcv._self_test.cache_clear()
        compiled_mmcv.ms_deform_attn_forward = lambda *a, **k: 1.01 * right(*a, **k)
        assert 'differs from the reference' in mmcv._self_test('cpu')

        def broken(*args, **kwargs):
            raise RuntimeError('no kernel image')

        mmcv._self_test.cache_clear()
        compiled_mmcv.ms_deform_attn_forward = broken
        assert 'its self-test failed: no kernel image' in mmcv._self_test('cpu')

    def test_stand_in_is_not_taken_for_it(self, monkeypatch):
        monkeypatch.setattr(mmcv, 'import_module', lambda name: mmcv_ops)
        mmcv._load.cache_clear()
        try:
            _, reason = mmcv._load()
        finally:
            mmcv._load.cache_clear()
        assert reason.startswith('the installed mmcv has no compiled operators; install a compiled')

    def test_missing_mmcv_names_what_helps(self, monkeypatch):
        monkeypatch.setattr(mmcv, 'find_spec', lambda name: None)
        mmcv._load.cache_clear()
        try:
            assert 'mmcv is not installed; install a compiled mmcv' in mmcv._load()[1]
        finally:
            mmcv._load.cache_clear()

    def test_cpu_tensors_are_refused_with_the_reason(self):
        message = "backend 'mmcv' cannot run here: its kernel runs on CUDA and ROCm devices"
        with pytest.raises(RuntimeError, match=message):
            fast(SHAPES, 'mmcv')(**make_deform_attn_inputs(*SMALL))


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('value', lambda x: x[:, 1:], r'value must have shape \(batch, 171, heads, channels\)'),
        ('value', lambda x: x.int(), r'value must be a real floating-point tensor, got torch.int'),
        ('locations', lambda x: x[:, :, :2], r'locations must have shape \(batch=2, queries, hea'),
        ('locations', lambda x: x[..., :1], r'locations must have shape .*got \(2, 7, 3, 3, 4,'),
        ('locations', lambda x: x.to('meta'), 'locations must be on the device of value, cpu'),
        ('weights', lambda x: x[..., :3], r'weights must have the shape of locations .*, \(2, 7,'),
    ],
    ids=['tokens', 'integers', 'heads', 'pairs', 'device', 'points'],
)  # fmt: skip
def test_what_does_not_fit_is_named(name, change, message):
    inputs = make_deform_attn_inputs(*SMALL)
    inputs[name] = change(inputs[name])
    with pytest.raises(ValueError, match=message):
        fast(SHAPES, None)(**inputs)


def test_deterministic_mode_refuses_atomic_sums(compiled_mmcv):
    inputs = {n: x.requires_grad_() for n, x in make_deform_attn_inputs(*SMALL).items()}
    torch.use_deterministic_algorithms(True)
    try:
        out = fast(SHAPES, 'mmcv')(**inputs)
        with pytest.raises(RuntimeError, match='gradient of value in deformable attention by mmcv'):
            out.sum().backward()
        fast(SHAPES, 'torch')(**inputs).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_reference_by_hand():
    """One cell of value 8, a query in its middle and one a quarter of the way out of it."""
    value = torch.tensor([8.0, 0, 0, 0]).view(1, 4, 1, 1)
    locations = torch.tensor([[0.25, 0.25], [0.125, 0.25]]).view(1, 2, 1, 1, 1, 2)
    weights = torch.tensor([0.5, 1]).view(1, 2, 1, 1, 1)
    out = ms_deform_attn_ref(value, [(2, 2)], locations, weights)
    assert out.flatten().tolist() == [4.0, 6.0]

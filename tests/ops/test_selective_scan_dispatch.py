"""Which backend runs, what a forced one says when it cannot, and the adapter to mamba_ssm."""

import asyncio
import logging
import multiprocessing
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmvmamba.ops.cpu import threads as team_of_threads
from mmvmamba.ops.selective_scan import (
    available_backends,
    dispatch,
    mamba_ssm,
    scan_backend,
    selective_scan,
)
from mmvmamba.ops.selective_scan import numba as numba_backend
from mmvmamba.ops.selective_scan import torch as torch_backend
from mmvmamba.ops.selective_scan.arguments import canonical_arguments
from mmvmamba.testing import assert_close
from tests.ops.scan_inputs import make_scan_inputs, reference_scan, run_with_grads

CPU = torch.device('cpu')
CUDA = torch.device('cuda')


@pytest.fixture
def ran(monkeypatch):
    """Names of the backends whose forward and backward ran."""
    names = []
    for name, module in (('torch', torch_backend), ('numba', numba_backend)):
        for step in ('forward', 'backward'):
            function = getattr(module, step)

            def recorded(*args, _function=function, _name=f'{name} {step}'):
                names.append(_name)
                return _function(*args)

            monkeypatch.setattr(module, step, recorded)
    return names


def scan(**options):
    inputs = make_scan_inputs(1, 5, 4, 2)
    inputs['u'].requires_grad_()
    return selective_scan(**inputs, channels_last=True, **options)


def test_auto_prefers_compiled_code(ran):
    scan()
    assert ran == ['numba forward']


def test_argument_wins_over_context_over_environment(ran, monkeypatch):
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'torch')
    scan()
    with scan_backend('numba'):
        scan()
        scan(backend='torch')
        with scan_backend('torch'):
            scan()
        scan()
    scan()
    assert [name.split()[0] for name in ran] == [
        'torch', 'numba', 'torch', 'torch', 'numba', 'torch',
    ]  # fmt: skip


def test_context_holds_for_its_own_thread(ran):
    with scan_backend('torch'), ThreadPoolExecutor(1) as pool:
        pool.submit(scan).result()
        scan()
    assert ran == ['numba forward', 'torch forward']


def test_context_holds_for_its_own_task(ran):
    async def forced(entered, done):
        with scan_backend('torch'):
            entered.set()
            await done.wait()
            scan()

    async def free():
        entered, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(forced(entered, done))
        await entered.wait()
        scan()
        done.set()
        await task

    asyncio.run(free())
    assert ran == ['numba forward', 'torch forward']


def test_context_ends_with_an_error(ran):
    with pytest.raises(ZeroDivisionError), scan_backend('torch'):
        raise ZeroDivisionError
    scan()
    assert ran == ['numba forward']


def test_backward_pass_uses_the_backend_of_the_forward_pass(ran):
    with scan_backend('torch'):
        y = scan()
    y.sum().backward()
    assert ran == ['torch forward', 'torch backward']


def test_names_are_checked(monkeypatch):
    with pytest.raises(ValueError, match=r"scan_backend must be one of .*, got 'fast'"):
        scan_backend('fast').__enter__()
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'fast')
    with pytest.raises(ValueError, match=r"MMVMAMBA_SCAN_BACKEND must be one of .*, got 'fast'"):
        scan()


def test_choice_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(dispatch.SCAN, 'logged', set())
    with caplog.at_level(logging.INFO, logger='mmvmamba.ops.selective_scan.dispatch'):
        scan()
        scan()
        scan(backend='torch')
    assert [record.getMessage() for record in caplog.records] == [
        'selective scan: backend numba for torch.float32 on cpu',
        'selective scan: backend torch for torch.float32 on cpu',
    ]


def test_forced_backend_that_cannot_run_says_why():
    message = "selective scan backend 'mamba_ssm' cannot run here: it runs on CUDA devices"
    with pytest.raises(RuntimeError, match=message):
        scan(backend='mamba_ssm')


def test_reasons_name_the_command_that_helps(monkeypatch):
    monkeypatch.setattr(numba_backend, 'has_numba', lambda: False)
    assert 'pip install numba' in numba_backend.unavailable_reason(CPU, torch.float32, 16)
    assert available_backends('cpu')[-1] == 'torch'
    assert 'numba' not in available_backends('cpu')
    with pytest.raises(RuntimeError, match='pip install numba'):
        scan(backend='numba')


def test_float64_goes_to_a_backend_that_has_it():
    assert 'numba' not in available_backends('cpu', torch.float64)
    assert 'float64' in numba_backend.unavailable_reason(CPU, torch.float64, 16)


class Scans(Dataset):
    """A data set whose items are results of the scan."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return scan(backend='numba').detach()


@pytest.mark.parametrize('start_method', ['fork'])
def test_scan_in_data_workers_after_a_scan_here(start_method):
    expected = scan(backend='numba')
    loader = DataLoader(
        Scans(), batch_size=None, num_workers=1, multiprocessing_context=start_method, timeout=60
    )
    for item in loader:
        assert torch.equal(item, expected)


def test_scan_with_threads_after_a_fork():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        inputs = make_scan_inputs(2, 9, 130, 4, directions=2)
        expected = selective_scan(**inputs, channels_last=True, backend='numba')
        context = multiprocessing.get_context('fork')
        process = context.Process(target=_scan_and_compare, args=(inputs, expected))
        process.start()
        process.join(60)
        assert process.exitcode == 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize('team', ['openmp', 'pool'])
@pytest.mark.parametrize('threads', [2, 5])
def test_threads_change_nothing(team, threads, monkeypatch):
    inputs = make_scan_inputs(8, 64, 200, 4, directions=2)
    tensors = [inputs[name].requires_grad_() for name in ('u', 'delta', 'A', 'B', 'C')]

    def results():
        out = selective_scan(**inputs, delta_softplus=True, channels_last=True, backend='numba')
        return out, *torch.autograd.grad(out.square().sum(), tensors)

    default = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = results()
        torch.set_num_threads(threads)
        if team == 'pool':
            monkeypatch.setattr(team_of_threads, '_openmp', lambda: None)
        elif team_of_threads._openmp() is None:
            pytest.skip('this build of torch has no OpenMP')
        assert all(map(torch.equal, results(), expected))
    finally:
        torch.set_num_threads(default)


def _scan_and_compare(inputs, expected):
    got = selective_scan(**inputs, channels_last=True, backend='numba')
    sys.exit(0 if torch.equal(got, expected) else 1)


class _KernelOfMambaSSM(torch.autograd.Function):
    """The contract of the package's function, on the CPU: one direction, channels-first."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, delta_bias, delta_softplus):
        assert all(x.is_contiguous() for x in (u, delta, A, B, C))
        args = canonical_arguments(
            u, delta, A, B, C, D, None, delta_bias, delta_softplus, False, None, True
        )
        out, last_state, checkpoints = torch_backend.forward(args, 64, True)
        ctx.args = args
        ctx.save_for_backward(checkpoints)
        ctx.mark_non_differentiable(last_state)
        return out.transpose(1, 2).contiguous(), last_state[:, 0]

    @staticmethod
    def backward(ctx, grad_out, _):
        grads = torch_backend.backward(
            ctx.args, 64, *ctx.saved_tensors, grad_out.transpose(1, 2), None
        )
        du, ddelta, dA, dB, dC, dD, ddelta_bias = (x[:, 0] if x.ndim > 3 else x[0] for x in grads)
        du, ddelta, dB, dC = (x.movedim(1, -1) for x in (du, ddelta, dB, dC))
        return du, ddelta, dA, dB, dC, dD, ddelta_bias, None


@pytest.fixture
def installed_mamba_ssm(monkeypatch):
    """A package with the layout of mamba_ssm and a kernel that runs on the CPU."""
    names = ('mamba_ssm', 'mamba_ssm.ops', 'mamba_ssm.ops.selective_scan_interface')
    modules = {name: types.ModuleType(name) for name in names}

    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None,
                          delta_softplus=False, return_last_state=False):  # fmt: skip
        assert z is None
        assert return_last_state
        return _KernelOfMambaSSM.apply(u, delta, A, B, C, D, delta_bias, delta_softplus)

    modules[names[-1]].selective_scan_fn = selective_scan_fn
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    mamba_ssm._load.cache_clear()
    mamba_ssm._self_test.cache_clear()
    yield modules[names[-1]]
    mamba_ssm._load.cache_clear()
    mamba_ssm._self_test.cache_clear()


@pytest.mark.parametrize('order_all', [True, False])
def test_adapter_to_mamba_ssm(installed_mamba_ssm, monkeypatch, order_all):
    monkeypatch.setattr(mamba_ssm, 'unavailable_reason', lambda *args: None)
    inputs = make_scan_inputs(2, 9, 6, 4, directions=3, groups=2, shared=('u', 'A', 'C', 'D'))

    def adapted(**tensors):
        out, last_state = selective_scan(
            **tensors, channels_last=True, return_last_state=True, delta_softplus=True,
            order_all=order_all, backend='mamba_ssm',
        )  # fmt: skip
        return out, last_state.detach()

    def expected(**tensors):
        out, state = reference_scan(**tensors, delta_softplus=True, order_all=order_all)
        return out, state.detach()

    got, want = run_with_grads(adapted, inputs), run_with_grads(expected, inputs)
    for name in want:
        assert_close(got[name], want[name], name)


def test_adapter_refuses_a_gradient_of_the_last_state(installed_mamba_ssm, monkeypatch):
    monkeypatch.setattr(mamba_ssm, 'unavailable_reason', lambda *args: None)
    _, last_state = scan(backend='mamba_ssm', return_last_state=True)
    with pytest.raises(RuntimeError, match='no gradient of the last state'):
        last_state.sum().backward()


def test_adapter_tests_the_package_before_use(installed_mamba_ssm):
    assert mamba_ssm._self_test('cpu') is None
    right = installed_mamba_ssm.selective_scan_fn
    mamba_ssm._self_test.cache_clear()
    mamba_ssm._load.cache_clear()
    installed_mamba_ssm.selective_scan_fn = lambda *args, **kwargs: tuple(
        1.01 * x for x in right(*args, **kwargs)
    )
    assert 'differs from the reference' in mamba_ssm._self_test('cpu')

    def broken(*args, **kwargs):
        raise RuntimeError('no kernel image')

    mamba_ssm._self_test.cache_clear()
    mamba_ssm._load.cache_clear()
    installed_mamba_ssm.selective_scan_fn = broken
    assert 'its self-test failed: no kernel image' in mamba_ssm._self_test('cpu')


def test_missing_mamba_ssm_names_the_command(monkeypatch):
    for name in ('mamba_ssm', *mamba_ssm.LAYOUTS):
        monkeypatch.setitem(sys.modules, name, None)
    mamba_ssm._load.cache_clear()
    try:
        reason = mamba_ssm.unavailable_reason(CUDA, torch.bfloat16, 16)
    finally:
        mamba_ssm._load.cache_clear()
    assert 'pip install mamba-ssm' in reason


def test_adapter_takes_what_the_kernel_takes():
    assert 'float64' in mamba_ssm.unavailable_reason(CUDA, torch.float64, 16)
    assert '256' in mamba_ssm.unavailable_reason(CUDA, torch.float32, 512)


def test_checkpoints_pass_from_one_backend_to_another():
    inputs = make_scan_inputs(2, 130, 70, 4, directions=2, without=('z',))
    args = canonical_arguments(
        **inputs, z=None, delta_softplus=True, channels_last=True, order_all=True
    )
    _, states, ours = numba_backend.forward(args, 64, True)
    _, loop_states, loops = torch_backend.forward(args, 64, True)
    assert_close(ours, loops, 'checkpoints')
    assert_close(states, loop_states, 'last_state')

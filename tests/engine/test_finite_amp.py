"""Steps with and without finite numbers, in the precisions that the CPU has."""

import copy
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from torch import nn

from mmvmamba.engine import finite_amp
from mmvmamba.engine.finite_amp import FiniteAmpOptimWrapper
from mmvmamba.registry import OPTIM_WRAPPERS

REPOSITORY = Path(__file__).resolve().parents[2]


def make(seed=0, **settings):
    torch.manual_seed(seed)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    # The default scale overflows float16 with this model, as it may at the start of a training.
    return model, FiniteAmpOptimWrapper(optimizer, **{'init_scale': 2.0**8, **settings})


def run(model, wrapper, batches, factor=1.0):
    for x in batches:
        with wrapper.optim_context(model):
            loss = model(x).square().mean() * factor
        wrapper.update_params(loss)


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, 4, generator=generator).unbind()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


@pytest.mark.parametrize(
    'settings', [dict(), dict(clip_grad=dict(max_norm=0.01)), dict(accumulative_counts=3)], ids=str
)
def test_finite_steps_are_those_of_mmengine(settings):
    model, wrapper = make(**settings)
    plain = copy.deepcopy(model)
    expected = OptimWrapper(torch.optim.AdamW(plain.parameters(), lr=0.1), **settings)
    run(model, wrapper, batches(6))
    run(plain, expected, batches(6))
    assert torch.equal(weights(model), weights(plain))
    assert wrapper.skipped == 0


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_forward_runs_in_the_type_asked_for(dtype):
    model, wrapper = make(dtype=dtype)
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4))
    assert str(out.dtype) == f'torch.{dtype}'
    before = weights(model)
    run(model, wrapper, batches(3))
    assert wrapper.skipped == 0
    assert not torch.equal(weights(model), before)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('factor', [float('nan'), float('inf')])
def test_a_bad_step_changes_nothing_and_the_next_one_counts_again(factor, dtype):
    model, wrapper = make(dtype=dtype)
    run(model, wrapper, batches(2))
    before, state = weights(model), copy.deepcopy(wrapper.optimizer.state_dict()['state'])
    run(model, wrapper, batches(1), factor)
    assert torch.equal(weights(model), before)
    for key, value in state.items():
        for name, tensor in value.items():
            assert torch.equal(wrapper.optimizer.state_dict()['state'][key][name], tensor)
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 1)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    run(model, wrapper, batches(1))
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 0)
    assert not torch.equal(weights(model), before)


def test_a_bad_batch_leaves_no_trace_in_batch_norm():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    wrapper = FiniteAmpOptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2
    )
    run(model, wrapper, batches(2))
    before = copy.deepcopy(dict(model.named_buffers()))
    assert before['1.running_mean'].any() and before['1.num_batches_tracked'] == 2
    good, bad = batches(2, seed=2)
    run(model, wrapper, [good, bad * float('nan')])
    assert wrapper.skipped == 1
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name
    run(model, wrapper, [good, bad])
    assert wrapper.skipped == 1 and model[1].num_batches_tracked == 4
    assert not torch.equal(model[1].running_mean, before['1.running_mean'])


def test_a_loss_that_is_not_finite_with_finite_gradients_is_skipped():
    model, wrapper = make()
    before = weights(model)
    wrapper.update_params(model(batches(1)[0]).sum() + float('inf'))
    assert torch.equal(weights(model), before)


def test_a_step_without_a_backward_is_refused():
    _, wrapper = make()
    with pytest.raises(RuntimeError, match='a step needs a backward before it'):
        wrapper.step()


def test_gradients_that_are_not_finite_under_a_finite_loss_are_skipped():
    model, wrapper = make()
    before = weights(model)
    # The square root has no derivative at zero.
    wrapper.update_params((model(batches(1)[0]) * 0).abs().sqrt().sum())
    assert torch.equal(weights(model), before)
    assert wrapper.skipped == 1


def test_large_but_finite_gradients_are_taken():
    model, wrapper = make()
    before = weights(model)
    run(model, wrapper, batches(1), factor=1e30)
    assert wrapper.skipped == 0
    assert not torch.equal(weights(model), before)


def test_one_bad_batch_spoils_the_step_it_is_accumulated_into():
    model, wrapper = make(accumulative_counts=2)
    before = weights(model)
    # The gradients of both are finite.
    wrapper.update_params(model(batches(1)[0]).sum() + float('inf'))
    run(model, wrapper, batches(1))
    assert torch.equal(weights(model), before)
    run(model, wrapper, batches(2))
    assert wrapper.skipped == 1
    assert not torch.equal(weights(model), before)


def test_the_loss_scale_comes_down_until_nothing_overflows():
    model, wrapper = make(dtype='float16', init_scale=2.0**18)
    run(model, wrapper, batches(8))
    assert 0 < wrapper.skipped < 8
    assert wrapper.skipped_in_a_row == 0
    assert wrapper.scaler.get_scale() == 2.0 ** (18 - wrapper.skipped)


def test_a_skipped_step_is_logged():
    logger = MMLogger.get_current_instance()
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)
    try:
        model, wrapper = make()
        run(model, wrapper, batches(2), float('nan'))
    finally:
        logger.removeHandler(handler)
    assert len(records) == 2
    assert 'not finite in float32: step skipped (2 in a row, 2 in all)' in records[1]


@pytest.mark.parametrize(
    'dtype,device,has_bfloat16,expected',
    [
        ('auto', 'cpu', True, torch.float32),
        ('auto', 'cuda', True, torch.bfloat16),
        ('auto', 'cuda', False, torch.float16),
        ('auto_float16', 'cpu', True, torch.float32),
        ('auto_float16', 'cuda', True, torch.float16),
    ],
)
def test_automatic_types(dtype, device, has_bfloat16, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: has_bfloat16)
    assert finite_amp._best_dtype(device, dtype == 'auto') == expected
    if device == 'cpu':
        assert make(dtype=dtype)[1].dtype == expected


def test_too_many_bad_steps_in_a_row_end_the_run():
    model, wrapper = make(max_skips_in_a_row=3)
    for _ in range(3):
        run(model, wrapper, batches(2), float('nan'))
        run(model, wrapper, batches(1))
    assert wrapper.skipped == 6
    with pytest.raises(FloatingPointError, match='3 steps in a row'):
        run(model, wrapper, batches(3), float('nan'))


def test_state_goes_round():
    model, wrapper = make(dtype='float16')
    run(model, wrapper, batches(2))
    run(model, wrapper, batches(1), float('nan'))
    other_model, other = make(seed=5, dtype='float16')
    other_model.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    assert other.skipped == other.skipped_in_a_row == 1
    assert other.scaler.get_scale() == wrapper.scaler.get_scale()
    for each in ((model, wrapper), (other_model, other)):
        run(*each, batches(2, seed=9))
    assert torch.equal(weights(model), weights(other_model))


def test_state_of_mmengines_wrapper_is_taken():
    model, wrapper = make()
    plain = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1))
    run(model, plain, batches(1))
    wrapper.load_state_dict(plain.state_dict())
    assert wrapper.optimizer.state_dict()['state'].keys() == {0, 1}


def test_config_type_builds():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    built = OPTIM_WRAPPERS.build(
        dict(type='mmvmamba.FiniteAmpOptimWrapper', dtype='bfloat16'),
        default_args=dict(optimizer=optimizer),
    )
    assert built.dtype == torch.bfloat16


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(dtype='half'), "dtype must be one of .*'auto'.*got 'half'"),
        (dict(max_skips_in_a_row=0), 'max_skips_in_a_row must be at least 1, got 0'),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', ['auto', 'float16'])
def test_on_a_gpu(dtype):
    model = nn.Linear(4, 3).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    wrapper = FiniteAmpOptimWrapper(optimizer, dtype=dtype)
    before = weights(model)
    run(model, wrapper, [x.cuda() for x in batches(1)], float('nan'))
    assert torch.equal(weights(model), before)
    run(model, wrapper, [x.cuda() for x in batches(5)])
    assert wrapper.skipped == 1
    assert not torch.equal(weights(model), before)


PROCESS = """
import torch
from torch import nn
from mmvmamba.engine.launch import init_dist
from mmvmamba.engine.finite_amp import FiniteAmpOptimWrapper
init_dist('pytorch')
rank = torch.distributed.get_rank()
model = nn.Linear(1, 1)
model.weight.data.fill_(1.0)
wrapper = FiniteAmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
# Only rank 1 sees an infinite loss, and its gradients are finite.
wrapper.update_params(model(torch.ones(1)).sum() + (float('inf') if rank else 0))
assert wrapper.skipped == 1 and float(model.weight) == 1.0
wrapper.update_params(model(torch.ones(1)).sum())
assert wrapper.skipped == 1 and float(model.weight) == 0.0
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_all_processes_skip_together():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in '01':
        values = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
        values |= dict(MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='', PYTHONPATH=str(REPOSITORY))
        command = [sys.executable, '-c', PROCESS]
        processes.append(subprocess.Popen(command, env=values, stderr=subprocess.PIPE, text=True))
    try:
        for process in processes:
            error = process.communicate(timeout=240)[1]
            assert process.returncode == 0, error
    finally:
        for process in processes:
            process.kill()

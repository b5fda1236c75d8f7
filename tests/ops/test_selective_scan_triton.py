"""The Triton backend of the scan without a GPU, run by Triton's interpreter."""

import pytest
import torch

from mmvmamba.ops.selective_scan import selective_scan
from mmvmamba.ops.selective_scan.triton import unavailable_reason
from tests.ops.interpreter import assert_within_tolerance, run_script

CPU = torch.device('cpu')


def interpret(*arguments):
    """Errors by allowed errors, by case and result."""
    # The interpreter of Triton 3.3 knows no truth values that kernels compute with.
    pytest.importorskip('triton', minversion='3.4')
    return run_script('interpreted_scan.py', *arguments)


@pytest.fixture(scope='module')
def short_cases():
    return interpret()


def test_interpreted_kernels_match_the_reference(short_cases):
    cases = {name: errors for name, errors in short_cases.items() if name != 'segments used'}
    assert len(cases) >= 27
    assert_within_tolerance(cases)


@pytest.mark.slow
def test_interpreted_kernels_match_the_reference_at_real_lengths():
    cases = interpret('--long')
    assert len(cases) == 6
    assert_within_tolerance(cases)


def test_long_sequences_are_cut_into_segments(short_cases):
    assert short_cases['segments used']['segments'] > 1


def test_cpu_tensors_are_refused_with_the_reason():
    pytest.importorskip('triton', reason='triton is not installed')
    x = torch.ones(1, 2, 3)
    with pytest.raises(RuntimeError, match='runs on CUDA and ROCm devices, got tensors on cpu'):
        selective_scan(x, x, torch.ones(2, 1), x[:, :1], x[:, :1], backend='triton')


@pytest.mark.parametrize(
    ('device', 'dtype', 'state', 'reason'),
    [
        (CPU, torch.float64, 16, 'the torch backend computes in float64'),
        (CPU, torch.float32, 257, 'state sizes up to 256, got 257'),
    ],
    ids=['float64', 'large state'],
)
def test_what_it_cannot_compute_is_named(device, dtype, state, reason):
    assert reason in unavailable_reason(device, dtype, state)


def test_absent_gpu_is_named():
    pytest.importorskip('triton', reason='triton is not installed')
    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    reason = unavailable_reason(torch.device('cuda'), torch.float32, 16)
    assert reason == 'torch finds no CUDA or ROCm device'

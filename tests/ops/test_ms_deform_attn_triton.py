"""The Triton backend of deformable attention without a GPU, run by Triton's interpreter."""

import pytest
import torch

from mmvmamba.ops.ms_deform_attn.triton import unavailable_reason
from tests.ops.deform_attn_inputs import CASES, fast, make_deform_attn_inputs
from tests.ops.interpreter import assert_within_tolerance, run_script

CPU = torch.device('cpu')


def test_interpreted_kernels_match_the_reference():
    pytest.importorskip('triton', reason='triton is not installed')
    cases = run_script('interpreted_deform_attn.py')
    assert len(cases) == len(CASES) + 6
    assert_within_tolerance(cases)


def test_cpu_tensors_are_refused_with_the_reason():
    pytest.importorskip('triton', reason='triton is not installed')
    case = CASES['one row']
    message = (
        "deformable attention backend 'triton' cannot run here: it runs on CUDA and ROCm devices"
    )
    with pytest.raises(RuntimeError, match=message):
        fast(case[-1], 'triton')(**make_deform_attn_inputs(*case))


@pytest.mark.parametrize(
    ('dtype', 'channels', 'reason'),
    [
        (torch.float64, 32, 'the torch backend computes in float64'),
        (torch.float32, 1025, 'heads of up to 1024 channels, got 1025'),
    ],
    ids=['float64', 'large heads'],
)
def test_what_it_cannot_compute_is_named(dtype, channels, reason):
    assert reason in unavailable_reason(CPU, dtype, channels)

"""Every backend of deformable attention on the GPU against the reference: needs a CUDA or ROCm
device.

Inputs and tolerances are those of the CPU (``tests/ops/test_deformable_attention.py``).
"""

import pytest
import torch

from mmvmamba.ops.ms_deform_attn import available_backends, ms_deform_attn
from mmvmamba.testing import assert_close
from tests.gpu.devices import on_each_device, on_gpu
from tests.ops.deform_attn_inputs import (
    CASES,
    compare,
    compare_half,
    compare_half_values,
    fast,
    make_deform_attn_inputs,
    make_half_inputs,
)

each_backend = on_each_device(available_backends)
each_half = pytest.mark.parametrize('half', [torch.float16, torch.bfloat16], ids=str)
SMALL = CASES['three levels']
# What a detector asks for; too slow for plain PyTorch on a CPU.
LARGE = (2, 131, 6, 32, 4, [(20, 26), (10, 13), (5, 6)])
each_size = pytest.mark.parametrize('case', [SMALL, on_gpu(LARGE)], ids=str)


@pytest.mark.parametrize('case', [*CASES.values(), on_gpu(LARGE)], ids=str)
@each_backend
def test_matches_reference(device, backend, case):
    compare(case, backend, make_deform_attn_inputs(*case, device=device))


@each_half
@each_size
@each_backend
def test_half_precision_errs_at_most_twice_as_much_as_plain_pytorch(device, backend, case, half):
    compare_half(case, backend, make_half_inputs(case, half, device))


@each_half
@each_size
@each_backend
def test_half_values_are_summed_in_float32(device, backend, case, half):
    compare_half_values(case, backend, make_deform_attn_inputs(*case, device=device), half)


@each_backend
def test_points_far_outside_are_zero(device, backend):
    inputs = make_deform_attn_inputs(*SMALL, device=device)
    inputs['locations'] = torch.full_like(inputs['locations'], 1e30)
    assert not fast(SMALL[-1], backend)(**inputs).any()


# The larger one has more than 2**31 elements.
@pytest.mark.parametrize(
    'device,backend,side', [('cpu', 'torch', 3), on_gpu('cuda', 'triton', 370)]
)
def test_offsets_beyond_32_bits(device, backend, side):
    if device == 'cuda' and torch.cuda.get_device_properties(0).total_memory < 32e9:
        pytest.skip('needs a GPU with 32 GB')
    heads, channels = 64, 256
    value = torch.zeros(1, side * side, heads, channels, dtype=torch.float16, device=device)
    value[0, -1, -1] = 1
    locations = torch.full((1, 1, heads, 1, 1, 2), 1 - 0.5 / side, device=device)
    weights = torch.ones(1, 1, heads, 1, 1, device=device)
    out = ms_deform_attn(value, [(side, side)], locations, weights, backend=backend)
    last = out.unflatten(2, (heads, channels))[0, 0, -1]
    assert_close(last, torch.ones(channels), 'last head', tolerance=torch.finfo(torch.float16).eps)
    assert not out[..., :-channels].any()


@pytest.mark.parametrize('device,backend', [on_gpu('cuda', 'triton')])
def test_deterministic_mode_refuses_atomic_sums(device, backend):
    inputs = make_deform_attn_inputs(*SMALL, device=device)
    out = fast(SMALL[-1], backend)(**{name: x.requires_grad_() for name, x in inputs.items()})
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match='gradient of value in deformable attention'):
            out.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)

"""Every backend of the scan on the GPU against the reference: needs a CUDA or ROCm device.

Inputs and tolerances are those of the CPU (``tests/ops/test_selective_scan_parity.py``).
"""

import pytest
import torch

from mmvmamba.ops.selective_scan import available_backends, selective_scan
from mmvmamba.testing import assert_close
from tests.gpu.devices import on_each_device, on_gpu
from tests.ops.scan_inputs import (
    DIRECTIONS,
    PLAIN_MAMBA,
    SHAPES,
    compare,
    compare_half,
    fast_scan,
    make_scan_inputs,
    run_with_grads,
    to_double,
)

each_backend = on_each_device(available_backends)
# Long enough for many chunks and segments; too slow for plain PyTorch on a CPU.
LONG_SHAPES = [on_gpu((2, 196, 65, 32)), on_gpu((1, 4200, 64, 16))]


@pytest.mark.parametrize('shape', [*SHAPES, *LONG_SHAPES], ids=str)
@each_backend
def test_matches_reference(device, backend, shape):
    compare(backend, make_scan_inputs(*shape, device=device), delta_softplus=True)


@pytest.mark.parametrize('order_all', [True, False], ids=['order all', 'order u'])
@pytest.mark.parametrize('case', DIRECTIONS)
@each_backend
def test_directions_match_reference(device, backend, case, order_all):
    inputs = make_scan_inputs(2, 67, 6, 3, **DIRECTIONS[case], device=device)
    compare(backend, inputs, order_all=order_all, delta_softplus=True)


@pytest.mark.parametrize('half', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('shape', [(2, 63, 66, 16), on_gpu((2, 196, 64, 16))], ids=str)
@each_backend
def test_half_precision_errs_at_most_twice_as_much_as_plain_pytorch(device, backend, shape, half):
    inputs = make_scan_inputs(*shape, half=half, device=device)
    compare_half(backend, inputs, delta_softplus=True)


@each_backend
def test_results_are_the_same_in_every_run(device, backend):
    if backend == 'mamba_ssm':
        pytest.skip('mamba_ssm adds gradients up with atomics')
    inputs = make_scan_inputs(8, 70, 96, 16, **PLAIN_MAMBA, device=device)
    options = dict(order_all=False, delta_softplus=True)
    first, second = (run_with_grads(fast_scan(backend), inputs, **options) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), name


# The larger one has more than 2**31 elements.
@pytest.mark.parametrize(
    'device,backend,dim', [('cpu', 'torch', 16), on_gpu('cuda', 'triton', 768 * 1024)]
)
def test_offsets_beyond_32_bits(device, backend, dim):
    batch, length = 3, 1024
    if device == 'cuda' and torch.cuda.get_device_properties(0).total_memory < 32e9:
        pytest.skip('needs a GPU with 32 GB')
    u = torch.zeros(batch, length, dim, dtype=torch.float16, device=device)
    u[-1, :, -8:] = 1
    matrix = torch.ones(batch, length, 1, device=device, dtype=torch.float16)
    A = -torch.ones(dim, 1, device=device)
    out = selective_scan(u, u, A, matrix, matrix, channels_last=True, backend=backend)
    end = dict(u=u[-1:, :, -8:], A=A[-8:], B=matrix[-1:], C=matrix[-1:])
    want = selective_scan(
        **to_double(end), delta=end['u'].double(), channels_last=True, backend='torch'
    )
    assert_close(out[-1:, :, -8:], want, 'end', tolerance=torch.finfo(torch.float16).eps)
    assert not out[0].any()

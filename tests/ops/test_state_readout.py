"""What follows Spatial-Mamba's scan in one kernel, against its definition and the mixer."""

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.ops.cpu.compiled import has_numba
from mmvmamba.ops.cpu.instruction_set import vector_lanes
from mmvmamba.ops.state_fusion import state_fusion_ref
from mmvmamba.ops.state_readout import merged_taps, op, read_out, read_out_ref
from mmvmamba.testing import assert_close

needs_numba = pytest.mark.skipif(not has_numba(), reason='numba is not installed')
CHANNELS = 2 * vector_lanes()


def inputs(height, width, channels=CHANNELS, dtype=torch.float32):
    generator = torch.Generator().manual_seed(height * 100 + width)
    map_shape = (2, height, width, channels)
    shapes = (map_shape, (27, channels), map_shape[:3], map_shape, *[(channels,)] * 3)
    drawn = [
        torch.randn(*shape, generator=generator, dtype=dtype) for shape in (*shapes, map_shape)
    ]
    return [*drawn[:-1], 1e-3, drawn[-1]]


def to_double(arguments):
    return [x.double() if isinstance(x, torch.Tensor) else x for x in arguments]


@needs_numba
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (4, 3), (13, 11)], ids=str)
def test_kernel_matches_the_definition(size, monkeypatch):
    monkeypatch.setattr(op, 'read_out_ref', None)
    arguments = inputs(*size)
    assert_close(read_out(*arguments), read_out_ref(*to_double(arguments)), 'out')


@needs_numba
def test_threads_and_views_change_no_bit():
    arguments = inputs(5, 4)
    want, threads = read_out(*arguments), torch.get_num_threads()
    views = [
        torch.stack([x, -x], dim=-1)[..., 0] if isinstance(x, torch.Tensor) else x
        for x in arguments
    ]
    torch.set_num_threads(3)
    try:
        assert torch.equal(read_out(*views), want)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize('change', [dict(channels=5), dict(dtype=torch.float64)], ids=str)
def test_what_no_vector_takes_goes_by_the_definition(change):
    arguments = inputs(3, 4, **change)
    assert torch.equal(read_out(*arguments), read_out_ref(*arguments))


def test_definition_is_fusion_reading_norm_and_gate():
    states, _, C, u, D, weight, bias, eps, gate = to_double(inputs(6, 7, 4))
    generator = torch.Generator().manual_seed(0)
    kernels = [torch.randn(4, 1, 3, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    alpha = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    fused = state_fusion_ref(states.permute(0, 3, 1, 2), kernels, alpha).permute(0, 2, 3, 1)
    want = F.layer_norm(fused * C[..., None] + u * D, (4,), weight, bias, eps) * gate
    taps = merged_taps(kernels, alpha).double()
    assert_close(read_out_ref(states, taps, C, u, D, weight, bias, eps, gate), want, 'out', 1e-6)

"""The fused operators of evaluation on a GPU, without one."""

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.fake_gpu import fake_gpu
from mmvmamba.ops.fused import add_norm, convolve_silu, fuses, gate_channels
from mmvmamba.testing import assert_close
from tests.ops.interpreter import assert_within_tolerance, run_script


def test_interpreted_kernels_match_their_definitions():
    pytest.importorskip('triton', reason='triton is not installed')
    cases = run_script('interpreted_fused.py')
    assert len(cases) == 2 * 11
    assert_within_tolerance(cases)


def test_definitions_are_those_of_plain_layers():
    x, y, weight, bias = torch.randn(2, 5, 6), torch.randn(2, 5, 6), *torch.randn(2, 6)
    total, normed = add_norm(x, y, weight, weight, bias, 1e-5, False, torch.float32)
    assert_close(total, x + y * weight, 'sum')
    assert_close(normed, F.layer_norm(x + y * weight, (6,), weight, bias), 'norm')
    taps = torch.randn(1, 3, 6)
    rows = F.conv1d(x.transpose(1, 2), taps[0].t()[:, None], bias, padding=1, groups=6)
    want = F.silu(rows).transpose(1, 2)
    assert_close(convolve_silu(x, taps, bias[None], [1])[0], want, 'convolution')
    gated = gate_channels(x, y[..., :2], y[..., 2:], 'gelu')
    assert_close(gated, F.gelu(x) * y, 'gate')


def test_a_sum_of_nothing_is_the_stream_itself():
    x = torch.randn(2, 4)
    assert add_norm(x, None, None, torch.ones(4), None, 1e-5, True, torch.float32)[0] is x


def test_three_ways_of_convolving_are_refused():
    with pytest.raises(ValueError, match=r'one or two ways, got 3 and \[0, 0, 0\]'):
        convolve_silu(torch.ones(1, 2, 3), torch.ones(3, 1, 3), None, [0, 0, 0])


def test_only_plain_evaluation_on_a_gpu_fuses():
    with torch.no_grad():
        assert not fuses(torch.ones(1))
    with fake_gpu():
        x = torch.empty(1, device='cuda')
        assert not fuses(x)
        with torch.no_grad():
            assert fuses(x)
            assert not fuses(x.double())
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch._C, '_get_tracing_state', object)
                assert not fuses(x)

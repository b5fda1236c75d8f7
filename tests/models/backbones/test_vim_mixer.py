"""Vim's mixer against one that flips the sequence and scans it by the reference."""

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.models.backbones import vim_mixer
from mmvmamba.models.backbones.vim_mixer import BidirectionalMamba, causal_conv1d
from mmvmamba.ops.scan_order import reversed_order
from mmvmamba.ops.selective_scan import selective_scan, selective_scan_ref
from mmvmamba.testing import assert_close, load_filled, make_input
from tests.models.plain_half import PlainHalf, assert_maps_close

SETTINGS = [
    dict(),
    dict(use_divide_out=False, layer_scale=0.5),
    dict(scan='v1', dt_rank=3),
    dict(scan='none', d_state=5, d_conv=2, expand=1),
    dict(d_state=1, d_conv=1, expand=1.5),
]


def scan_forward(mixer, x, z, suffix, A_log, D, bias):
    conv, x_proj, dt_proj = (
        getattr(mixer, f'{name}{suffix}') for name in ('conv1d', 'x_proj', 'dt_proj')
    )
    x = F.pad(x.transpose(1, 2), (conv.kernel_size[0] - 1, 0))
    x = F.silu(conv(x)).transpose(1, 2)
    dt, B, C = x_proj(x).split([mixer.dt_rank, mixer.d_state, mixer.d_state], dim=-1)
    y, _ = selective_scan_ref(
        x[:, None],
        F.linear(dt, dt_proj.weight)[:, None],
        -A_log.exp()[None],
        B[:, None, :, None],
        C[:, None, :, None],
        D[None],
        bias[None],
        delta_softplus=True,
    )
    return y * F.silu(z)


def mixer_ref(mixer, x):
    """The definition: one scan of the sequence and one of the flipped sequence."""
    x, z = mixer.in_proj(x).chunk(2, dim=-1)
    y = scan_forward(mixer, x, z, '', mixer.A_log, mixer.D, mixer.dt_proj.bias)
    flipped = x.flip(1), z.flip(1)
    if mixer.scan == 'v2':
        backward = mixer.A_b_log, mixer.D_b, mixer.dt_proj_b.bias
        y = y + scan_forward(mixer, *flipped, '_b', *backward).flip(1)
    elif mixer.scan == 'v1':
        # The convolution is the forward one, so what it puts out is flipped.
        u = F.silu(causal_conv1d_ref(x, mixer.conv1d)).flip(1)
        dt, B, C = mixer.x_proj(u).split([mixer.dt_rank, mixer.d_state, mixer.d_state], dim=-1)
        y_back, _ = selective_scan_ref(
            u[:, None],
            F.linear(dt, mixer.dt_proj.weight)[:, None],
            -mixer.A_b_log.exp()[None],
            B[:, None, :, None],
            C[:, None, :, None],
            mixer.D[None],
            mixer.dt_proj.bias[None],
            delta_softplus=True,
        )
        y = y + (y_back * F.silu(z.flip(1))).flip(1)
    if mixer.use_divide_out:
        y = y / 2
    y = mixer.out_proj(y)
    return y if mixer.gamma is None else y * mixer.gamma


def causal_conv1d_ref(x, conv):
    return conv(F.pad(x.transpose(1, 2), (conv.kernel_size[0] - 1, 0))).transpose(1, 2)


def output_and_gradients(mixer, function, x):
    mixer.zero_grad()
    x = x.clone().requires_grad_()
    y = function(x)
    (y * make_input(y.shape, 7)).sum().backward()
    return dict(output=y, x=x.grad) | {n: p.grad.clone() for n, p in mixer.named_parameters()}


@pytest.mark.parametrize('length', [1, 2, 17])
@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_mixer_is_the_scan_of_the_flipped_sequence_without_the_flip(settings, length):
    mixer = load_filled(BidirectionalMamba(12, **settings).double())
    x = make_input((2, length, 12))
    orders = reversed_order(length)
    got = output_and_gradients(mixer, lambda x: mixer(x, orders), x)
    want = output_and_gradients(mixer, lambda x: mixer_ref(mixer, x), x)
    assert got.keys() == want.keys()
    for name in want:
        assert_close(got[name], want[name], name)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(('length', 'taps'), [(1, 4), (3, 4), (9, 4), (9, 1)])
def test_convolution_meets_the_tokens_before_or_after(length, taps, dtype):
    conv = load_filled(torch.nn.Conv1d(6, 6, taps, groups=6)).to(dtype)
    # A slice of wider tokens, as the mixer passes it.
    x = make_input((2, length, 12)).to(dtype)[..., :6]
    forward = causal_conv1d(x, conv.weight, conv.bias)
    backward = causal_conv1d(x, conv.weight, conv.bias, reverse=True)
    assert_close(forward, causal_conv1d_ref(x, conv), 'forward', 1e-6)
    assert_close(backward, causal_conv1d_ref(x.flip(1), conv).flip(1), 'backward', 1e-6)


@pytest.fixture
def state_dtypes(monkeypatch):
    """Precisions of what the scans are told of their states."""
    seen = []

    def recorded(u, delta, A, B, C, D, *, delta_bias, **settings):
        seen.extend((A.dtype, D.dtype, delta_bias.dtype))
        return selective_scan(u, delta, A, B, C, D, delta_bias=delta_bias, **settings)

    monkeypatch.setattr(vim_mixer, 'selective_scan', recorded)
    return seen


def test_mixer_computes_states_in_float32_under_autocast(state_dtypes):
    mixer = load_filled(BidirectionalMamba(16))
    x, orders = make_input((2, 50, 16)).float(), reversed_order(50)
    want = mixer(x, orders)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = mixer(x, orders)
    with PlainHalf():
        plain = mixer(x, orders)
    assert got.dtype == torch.bfloat16
    assert set(state_dtypes) == {torch.float32}
    assert_maps_close([got], [plain], [want], 'autocast')


def test_mixer_of_half_precision_computes_states_in_float32(state_dtypes):
    mixer = load_filled(BidirectionalMamba(16))
    x, orders = make_input((2, 50, 16)).float(), reversed_order(50)
    want = mixer(x, orders)
    mixer = mixer.to(torch.bfloat16)
    got = mixer(x.bfloat16(), orders)
    with PlainHalf():
        # Rounded parameters, as ours.
        plain = mixer.float()(x, orders)
    assert got.dtype == torch.bfloat16
    assert set(state_dtypes) == {torch.float32}
    assert_maps_close([got], [plain], [want], 'half')


def test_unknown_scan_is_named():
    with pytest.raises(ValueError, match=r"scan must be one of \['v2', 'v1', 'none'\], got 'v4'"):
        BidirectionalMamba(16, scan='v4')

"""The Triton kernels of the selective scan: CUDA, ROCm, and the CPU under Triton's interpreter.

A program owns ``DIMS`` channels of one batch element and direction and keeps their states, ``(DIMS, STATE)`` in float32, in
registers. It walks the sequence in tiles of ``STEPS``: a tile is loaded at once, coalesced, then scanned step by step. Tiles
are three-dimensional, ``(STEPS, DIMS, STATE)``; a thread holds all steps of its few states, so that ``_pick`` and ``_put``
name a register and cost nothing. All offsets are 64 bits wide.

Arguments of all kernels: tensors in the layout of ``ScanArgs`` with their strides (``u_k`` is the stride of ``u`` along the
directions, 0 if they share it; ``_b`` batch, ``_t`` length, ``_d`` dim, ``_g`` groups, ``_n`` state). What a kernel writes is
contiguous. ``place`` is where a tensor keeps step t: the token's own place, or t.
"""

import triton
import triton.language as tl

__all__ = [
    'selective_scan_bwd_kernel',
    'selective_scan_carry_kernel',
    'selective_scan_fwd_kernel',
    'selective_scan_segment_kernel',
]

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _pick(tile, index, i):
    """Row i of a tile, first axis kept. -0.0 is the true neutral element, which lets the compiler drop the sum."""
    return tl.sum(tl.where(index == i, tile, -0.0), axis=0, keep_dims=True)


@triton.jit
def _put(tile, index, i, row):
    """The tile with ``row`` in its row i."""
    return tl.where(index == i, row, tile)


@triton.jit
def _softplus(x):
    """log(1 + exp(x)) to full relative precision: log1p(w) = 2 artanh(w / (2 + w)), w = exp(-|x|) <= 1.

    Above the threshold of 20 that the definition names, it equals x in float32 by itself.
    """
    w = tl.exp(-tl.abs(x))
    s = w / (2.0 + w)
    q = s * s
    series = 0.0666666667 * q + 0.0769230769
    series = series * q + 0.0909090909
    series = series * q + 0.1111111111
    series = series * q + 0.1428571429
    series = series * q + 0.2
    series = series * q + 0.3333333333
    series = series * q + 1.0
    return tl.maximum(x, 0.0) + 2.0 * s * series


@triton.jit
def _sigmoid(x):
    w = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, w) / (1.0 + w)


@triton.jit
def _spread(x, y, STEPS: tl.constexpr, DIMS: tl.constexpr):
    """Two ``(STEPS, DIMS)`` tiles as ``(STEPS, DIMS, 1)``, ready to meet the states.

    The way through join and split makes the compiler finish both where each element is held once. Left alone, it repeats
    their computation (the softplus) in every thread that needs them, which doubles the instructions of the forward pass.
    """
    pair = tl.reshape(tl.reshape(tl.join(x, y), [1, STEPS, DIMS, 2]), [STEPS, DIMS, 2])
    x, y = tl.split(pair)
    return x[:, :, None], y[:, :, None]


@triton.jit
def _places(orders, k, t, inside, length):
    """The tokens that direction k visits at steps t."""
    if orders is None:
        return t.to(tl.int64)
    return tl.load(orders + k * length + t, mask=inside, other=0)


@triton.jit
def _load(pointer, offsets, mask):
    return tl.load(pointer + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _load_matrix(pointer, orders, k, t, end, length, stride_t, stride_n, n, n_in, BY_TOKEN: tl.constexpr):
    """The row of B or C of one step, ``(1, 1, STATE)``; zeros from ``end`` on."""
    place = t.to(tl.int64)
    if BY_TOKEN:
        place = tl.load(orders + k * length + t, mask=t < end, other=0)
    return _load(pointer, place * stride_t + n * stride_n, n_in & (t < end))

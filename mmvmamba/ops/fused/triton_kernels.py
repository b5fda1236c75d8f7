"""The Triton kernels of the fused operators: each reads its inputs once and writes its result once.

Rows are tokens. Every offset has 64 bits.
"""

import triton
import triton.language as tl

__all__ = ['add_norm_kernel', 'convolve_silu_kernel', 'gate_channels_kernel']

SQRT_HALF = tl.constexpr(0.7071067811865476)


@triton.jit
def load(pointer, offsets, mask):
    return tl.load(pointer + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def silu(x):
    w = tl.exp(-tl.abs(x))
    return x * tl.where(x >= 0.0, 1.0, w) / (1.0 + w)


@triton.jit
def gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * SQRT_HALF))


@triton.jit(do_not_specialize=['rows'])
def add_norm_kernel(
    stream, branch, scale, weight, bias, total, normed, rows, dim, eps,
    IS_RMS: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """Adds a branch to the stream and norms the sum; all are ``(rows, dim)`` and contiguous."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, DIM)[None, :]
    d_in = d < dim
    inside = (row < rows) & d_in
    at = row * dim + d
    x = load(stream, at, inside)
    if branch is not None:
        added = load(branch, at, inside)
        if scale is not None:
            added *= load(scale, d, d_in)
        # What is normed is what is kept, with its rounding.
        kept = (x + added).to(total.dtype.element_ty)
        tl.store(total + at, kept, mask=inside)
        x = kept.to(tl.float32)
    if not IS_RMS:
        mean = tl.sum(x, axis=1, keep_dims=True) / dim
        x = tl.where(d_in, x - mean, 0.0)
    variance = tl.sum(x * x, axis=1, keep_dims=True) / dim
    y = x * tl.rsqrt(variance + eps) * load(weight, d, d_in)
    if bias is not None:
        y += load(bias, d, d_in)
    tl.store(normed + at, y.to(normed.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=['length'])
def convolve_silu_kernel(
    x, weight, bias, out, x_b, x_t, batch, length, dim, first_before, last_before,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """Convolves each channel along the tokens and applies SiLU, with each set of taps.

    ``x`` is ``(batch, length, dim)``, its channels side by side; ``weight`` ``(sets, taps, dim)``,
    ``bias`` ``(sets, dim)``, ``out`` ``(sets, batch, length, dim)``. ``first_before`` of the taps
    of the first set, ``last_before`` of those of the other, meet tokens before a result's own.
    """
    blocks, rows = tl.cdiv(dim, DIMS), tl.cdiv(length, TOKENS)
    pid = tl.program_id(0).to(tl.int64)
    block, pid = pid % blocks, pid // blocks
    row, pid = pid % rows, pid // rows
    b, p = pid % batch, pid // batch
    before = tl.where(p == 0, first_before, last_before)
    d = block * DIMS + tl.arange(0, DIMS)[None, :]
    d_in = d < dim
    t = row * TOKENS + tl.arange(0, TOKENS)[:, None]
    y = tl.zeros([TOKENS, DIMS], tl.float32)
    if bias is not None:
        y += load(bias, p * dim + d, d_in)
    for tap in tl.static_range(TAPS):
        token = t + tap - before
        inside = (token >= 0) & (token < length) & d_in
        y += load(weight, (p * TAPS + tap) * dim + d, d_in) * load(
            x, b * x_b + token * x_t + d, inside
        )
    to = ((p * batch + b) * length + t) * dim + d
    tl.store(out + to, silu(y).to(out.dtype.element_ty), mask=(t < length) & d_in)


@triton.jit(do_not_specialize=['rows'])
def gate_channels_kernel(
    gate, identity, convolved, out, gate_row, identity_row, convolved_row,
    rows, dim, num_identity, GELU: tl.constexpr, ROWS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """Multiplies what is beside each other in two tensors by an activated gate."""
    blocks = tl.cdiv(dim, DIMS)
    pid = tl.program_id(0).to(tl.int64)
    d = pid % blocks * DIMS + tl.arange(0, DIMS)[None, :]
    row = pid // blocks * ROWS + tl.arange(0, ROWS)[:, None]
    inside = (row < rows) & (d < dim)
    g = load(gate, row * gate_row + d, inside)
    is_identity = d < num_identity
    value = load(identity, row * identity_row + d, inside & is_identity)
    at = row * convolved_row + d - num_identity
    value += load(convolved, at, inside & (d >= num_identity))
    y = (gelu(g) if GELU else silu(g)) * value
    tl.store(out + row * dim + d, y.to(out.dtype.element_ty), mask=inside)

"""The Triton kernels of the scan that link segments and add up directions.

Arguments are named as in ``triton_kernels.py``.
"""

import triton
import triton.language as tl

from .triton_functions import (
    LOG2E,
    SIZES,
    load,
    pick,
    place_at,
    sigmoid,
    spread,
    step_size,
    tokens_at,
    vector,
)

__all__ = [
    'selective_scan_carry_kernel',
    'selective_scan_gate_kernel',
    'selective_scan_segment_kernel',
]


@triton.jit(do_not_specialize=SIZES)
def selective_scan_segment_kernel(
    x, delta, A, V, delta_bias, orders, states, sums,
    x_b, x_k, x_t, x_d, delta_b, delta_k, delta_t, delta_d, A_k,
    V_b, V_k, V_t, V_g, V_n, bias_k, bias_d,
    directions, length, groups, group_dim, segments, segment_length,
    state: tl.constexpr, SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, REVERSE: tl.constexpr,
    STEPS: tl.constexpr, DIMS: tl.constexpr, STATE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """What each segment alone hands on, and the sum of its delta.

    Forward, ``x`` is u and ``V`` is B: the state after the segment, from zero before it; all
    segments but the last. ``REVERSE``, ``x`` is the gradient of the output and ``V`` is C: the
    gradient of the state before the segment, from zero after it; all segments but the first.

    Writes ``states`` ``(batch, directions, segments - 1, dim, state)`` and ``sums``
    ``(batch, directions, segments - 1, dim)``.
    """
    blocks = tl.cdiv(group_dim, DIMS)
    pid = tl.program_id(0).to(tl.int64)
    block, pid = pid % blocks, pid // blocks
    g, pid = pid % groups, pid // groups
    slot, pid = pid % (segments - 1), pid // (segments - 1)
    k, b = pid % directions, pid // directions
    dim = groups * group_dim

    d_local = block * DIMS + tl.arange(0, DIMS)
    d_in = d_local < group_dim
    d = g * group_dim + d_local
    n = tl.arange(0, STATE)[None, None, :]
    n_in = n < state
    steps = tl.arange(0, STEPS)
    index = steps[:, None, None]
    d3 = d[None, :, None]
    dn_in = d_in[None, :, None] & n_in

    A2 = load(A, k * A_k + d3 * state + n, dn_in) * LOG2E
    bias = vector(delta_bias, k * bias_k, d * bias_d, d_in)
    h = tl.zeros([1, DIMS, STATE], tl.float32)
    total = tl.zeros([STEPS, DIMS], tl.float32)
    begin = slot * segment_length
    if REVERSE:
        begin += segment_length
    end = tl.minimum(begin + segment_length, length)
    tiles = tl.cdiv(end - begin, STEPS)
    for tile in tl.range(tiles, num_stages=STAGES):
        t0 = begin + tile * STEPS
        if REVERSE:
            t0 = begin + (tiles - 1 - tile) * STEPS
        t = t0 + steps
        inside = t < end
        mask = inside[:, None] & d_in[None, :]
        token = tokens_at(orders, k, t, inside, length)
        place = place_at(orders, k, t, inside, length, ORDER_ALL)
        x_tile = load(x, b * x_b + k * x_k + token[:, None] * x_t + d[None, :] * x_d, mask)
        raw = bias + load(
            delta,
            b * delta_b + k * delta_k + place[:, None] * delta_t + d[None, :] * delta_d,
            mask,
        )
        places, Vs = (), ()
        for i in tl.static_range(STEPS):
            places += (place_at(orders, k, t0 + i, t0 + i < end, length, ORDER_ALL),)
        for i in tl.static_range(STEPS):
            i_in, at = n_in & (t0 + i < end), places[i]
            Vs += (load(V, b * V_b + k * V_k + g * V_g + at * V_t + n * V_n, i_in),)
        delta_tile = step_size(raw, mask, SOFTPLUS)
        total += delta_tile
        if not REVERSE:
            x_tile *= delta_tile
        delta3, x3 = spread(delta_tile, x_tile, STEPS, DIMS)
        decay = tl.exp2(delta3 * A2)
        for step in tl.static_range(STEPS):
            if REVERSE:
                i = STEPS - 1 - step
                h = pick(decay, index, i) * (h + pick(x3, index, i) * Vs[STEPS - 1 - step])
            else:
                h = pick(decay, index, step) * h + pick(x3, index, step) * Vs[step]
    row = (b * directions + k) * (segments - 1) + slot
    tl.store(states + (row * dim + d3) * state + n, h, mask=dn_in)
    tl.store(sums + row * dim + d, tl.sum(total, axis=0), mask=d_in)


@triton.jit(do_not_specialize=SIZES)
def selective_scan_carry_kernel(
    A, states, sums, carried, after, A_k,
    directions, dim, segments, state: tl.constexpr, REVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Links the segments: ``carried`` ``(batch, directions, segments, dim, state)``.

    Forward, the states before each segment. ``REVERSE``, the gradients of the states after each
    segment, from ``after`` ``(batch, directions, dim, state)`` at the end (None: zero). The decay
    across a segment is exp(A * sum of delta): no product of decays, nothing to divide by.
    """
    size = dim * state
    blocks = tl.cdiv(size, BLOCK)
    pid = tl.program_id(0).to(tl.int64)
    row = pid // blocks
    at = pid % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    d = at // state
    A2 = load(A, row % directions * A_k + at, inside) * LOG2E
    carry = tl.zeros([BLOCK], tl.float32)
    if after is not None:
        carry = load(after, row * size + at, inside)
    # What the next link needs is under way while this one is computed.
    slot = row * (segments - 1) + (segments - 2 if REVERSE else 0)
    total = load(sums, slot * dim + d, inside)
    added = load(states, slot * size + at, inside)
    for link in range(segments):
        segment = segments - 1 - link if REVERSE else link
        slot += -1 if REVERSE else 1
        is_next = inside & (link + 2 < segments)
        next_total = load(sums, slot * dim + d, is_next)
        next_added = load(states, slot * size + at, is_next)
        tl.store(carried + (row * segments + segment) * size + at, carry, mask=inside)
        carry = tl.exp2(A2 * total) * carry + added
        total, added = next_total, next_added


@triton.jit(do_not_specialize=SIZES)
def selective_scan_gate_kernel(
    out, z, gated, z_b, z_t, z_d, length, dim,
    DIRECTIONS: tl.constexpr, TOKENS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """Adds up what the directions put out, in their order, and gates the sum by ``silu(z)``.

    ``out`` is ``(batch, directions, length, dim)``, ``gated`` ``(batch, length, dim)``; without z,
    there is no gate.
    """
    blocks, rows = tl.cdiv(dim, DIMS), tl.cdiv(length, TOKENS)
    pid = tl.program_id(0).to(tl.int64)
    block, pid = pid % blocks, pid // blocks
    row, b = pid % rows, pid // rows
    t = row * TOKENS + tl.arange(0, TOKENS)[:, None]
    d = block * DIMS + tl.arange(0, DIMS)[None, :]
    inside = (t < length) & (d < dim)
    at, size = t * dim + d, length * dim
    y = tl.zeros([TOKENS, DIMS], tl.float32)
    for k in tl.static_range(DIRECTIONS):
        y += load(out, (b * DIRECTIONS + k) * size + at, inside)
    if z is not None:
        gate = load(z, b * z_b + t * z_t + d * z_d, inside)
        y *= gate * sigmoid(gate)
    tl.store(gated + b * size + at, y.to(gated.dtype.element_ty), mask=inside)

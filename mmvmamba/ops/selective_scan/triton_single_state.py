"""The Triton kernels of the selective scan for a state of one number, which VMamba has.

With nothing to share a token's step size and addresses, all of a tile ``(STEPS, DIMS)`` happens
where it was loaded, each element in one lane. Only the recurrence, a multiply-add for each element,
runs in another layout: a channel in each lane, its steps in the lane's registers.

Arguments are named as in ``triton_kernels.py``. A program owns ``DIMS`` channels, in one direction.
"""

import triton
import triton.language as tl

from .triton_functions import (
    LOG2E,
    SIZES,
    finish,
    load,
    pick,
    put,
    slope,
    softplus,
    spread,
    vector,
)

__all__ = ['single_state_bwd_kernel', 'single_state_fwd_kernel']


@triton.jit
def recur(decay, entry, h, STEPS: tl.constexpr):
    """The states before each step of a tile, and that after the last, ``(1, DIMS, 1)``."""
    index = tl.arange(0, STEPS)[:, None, None]
    before = decay
    for i in tl.static_range(STEPS):
        state = h
        h = pick(decay, index, i) * h + pick(entry, index, i)
        before = put(before, index, i, state)
    return tl.sum(before, axis=2), h


@triton.jit
def recur_back(decay, arriving, carry, STEPS: tl.constexpr):
    """The gradients of the states after each step, and that of the state before the first."""
    index = tl.arange(0, STEPS)[:, None, None]
    after = decay
    for step in tl.static_range(STEPS):
        i = STEPS - 1 - step
        gradient = carry + pick(arriving, index, i)
        carry = pick(decay, index, i) * gradient
        after = put(after, index, i, gradient)
    return tl.sum(after, axis=2), carry


@triton.jit
def aligned_to_four(d, b):
    """The same channels, of which the compiler sees only that they begin at a multiple of 4.

    It would load eight of 16 bits at once otherwise, and a thread compute too many.
    """
    return d + (b >> 31) * 4  # 0 for every batch element b


@triton.jit
def visited(orders, t, inside, WIDE: tl.constexpr):
    """The tokens of steps t, in 32 bits unless offsets need more: they cost half as much."""
    token = t
    if orders is not None:
        token = tl.load(orders + t, mask=inside, other=0)
    # One return: Triton compiles what stands behind another one as well.
    return token.to(tl.int64 if WIDE else tl.int32)


@triton.jit
def tokens_of(x, token, d, x_t, x_d, mask):
    """A tile ``(STEPS, DIMS)`` of x, in its own dtype."""
    return tl.load(x + (token[:, None] * x_t + d[None, :] * x_d), mask=mask, other=0.0)


@triton.jit
def numbers_of(x, token, x_t, inside):
    """A number of x for each step, ``(STEPS, 1)``, in its own dtype."""
    return tl.load(x + token * x_t, mask=inside, other=0.0)[:, None]


@triton.jit(do_not_specialize=SIZES)
def single_state_fwd_kernel(
    u, delta, A, B, C, D, delta_bias, orders, start_states, out, last_state, checkpoints,
    u_b, u_k, u_t, u_d, delta_b, delta_k, delta_t, delta_d, A_k,
    B_b, B_k, B_t, B_g, B_n, C_b, C_k, C_t, C_g, C_n, D_k, D_d, bias_k, bias_d,
    directions, length, groups, group_dim, segments, segment_length, chunk_length,
    SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, WIDE: tl.constexpr, STEPS: tl.constexpr,
    DIMS: tl.constexpr,
):  # fmt: skip
    """Outputs ``(batch, directions, length, dim)`` at the tokens' own places."""
    blocks = tl.cdiv(group_dim, DIMS)
    pid = tl.program_id(0).to(tl.int64)
    block, pid = pid % blocks, pid // blocks
    g, pid = pid % groups, pid // groups
    segment, pid = pid % segments, pid // segments
    k, b = pid % directions, pid // directions
    dim = groups * group_dim
    row = b * directions + k

    d_local = block * DIMS + tl.arange(0, DIMS)
    d_in = d_local < group_dim
    d = aligned_to_four(g * group_dim + d_local, b)
    if not WIDE:
        d = d.to(tl.int32)
    steps = tl.arange(0, STEPS)
    A2 = vector(A, k * A_k, d, d_in) * LOG2E
    skip = vector(D, k * D_k, d * D_d, d_in)
    bias = vector(delta_bias, k * bias_k, d * bias_d, d_in)
    u += b * u_b + k * u_k
    delta += b * delta_b + k * delta_k
    B += b * B_b + k * B_k + g * B_g
    C += b * C_b + k * C_k + g * C_g
    out += row * length * dim
    if orders is not None:
        orders += k * length

    d3 = d[None, :, None]
    d3_in = d_in[None, :, None]
    h = tl.zeros([1, DIMS, 1], tl.float32)
    if start_states is not None:
        h = load(start_states, (row * segments + segment) * dim + d3, d3_in)
    chunks = tl.cdiv(length, chunk_length)
    begin = (segment * segment_length).to(tl.int32)
    end = tl.minimum(begin + segment_length, length)
    # A tile is loaded while the one before is computed, its tokens one tile earlier still.
    t = begin + steps
    inside = t < end
    mask = inside[:, None] & d_in[None, :]
    token = visited(orders, t, inside, WIDE)
    place = token if ORDER_ALL else t.to(token.dtype)
    u_raw = tokens_of(u, token, d, u_t, u_d, mask)
    delta_raw = tokens_of(delta, place, d, delta_t, delta_d, mask)
    B_raw, C_raw = numbers_of(B, place, B_t, inside), numbers_of(C, place, C_t, inside)
    next_token = visited(orders, t + STEPS, t + STEPS < end, WIDE)
    for t0 in range(begin, end, STEPS):
        if checkpoints is not None:
            saved = (row * chunks + t0 // chunk_length) * dim + d3
            tl.store(checkpoints + saved, h, mask=d3_in & (t0 % chunk_length == 0))
        this_token, this_mask = token, mask
        u_tile, raw = u_raw.to(tl.float32), delta_raw.to(tl.float32) + bias
        B_tile, C_tile = B_raw.to(tl.float32), C_raw.to(tl.float32)

        t = t0 + STEPS + steps
        inside = t < end
        mask = inside[:, None] & d_in[None, :]
        token = next_token
        place = token if ORDER_ALL else t.to(token.dtype)
        u_raw = tokens_of(u, token, d, u_t, u_d, mask)
        delta_raw = tokens_of(delta, place, d, delta_t, delta_d, mask)
        B_raw, C_raw = numbers_of(B, place, B_t, inside), numbers_of(C, place, C_t, inside)
        next_token = visited(orders, t + STEPS, t + STEPS < end, WIDE)

        delta_tile = softplus(raw) if SOFTPLUS else raw
        if last_state is not None:
            delta_tile = tl.where(this_mask, delta_tile, 0.0)
        decay = tl.exp2(delta_tile * A2)
        entry = delta_tile * u_tile * B_tile
        decay3, entry3 = spread(decay, entry, STEPS, DIMS)
        before, h = recur(decay3, entry3, h, STEPS)
        y = (decay * before + entry) * C_tile + skip * u_tile
        to = out + (this_token[:, None] * dim + d[None, :])
        tl.store(to, y.to(out.dtype.element_ty), mask=this_mask)
    if last_state is not None:
        tl.store(last_state + row * dim + d3, h, mask=d3_in & (segment == segments - 1))


@triton.jit(do_not_specialize=SIZES)
def single_state_bwd_kernel(
    u, delta, A, B, C, D, delta_bias, orders, checkpoints, after, grad_out,
    grad_u, grad_delta, grad_A, grad_D, grad_bias, grad_B, grad_C,
    u_b, u_k, u_t, u_d, delta_b, delta_k, delta_t, delta_d, A_k,
    B_b, B_k, B_t, B_g, B_n, C_b, C_k, C_t, C_g, C_n, D_k, D_d, bias_k, bias_d,
    grad_out_b, grad_out_t, grad_out_d,
    batch, directions, length, groups, group_dim, segments, segment_length,
    SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, WIDE: tl.constexpr, STEPS: tl.constexpr,
    DIMS: tl.constexpr,
):  # fmt: skip
    """Gradients of one direction, as ``selective_scan_bwd_kernel`` writes them.

    A tile is a chunk, so that its first state is a checkpoint; a block of channels is a split.
    """
    blocks = tl.cdiv(group_dim, DIMS)
    pid = tl.program_id(0).to(tl.int64)
    block, pid = pid % blocks, pid // blocks
    g, pid = pid % groups, pid // groups
    segment, pid = pid % segments, pid // segments
    k, b = pid % directions, pid // directions
    dim = groups * group_dim
    row = b * directions + k
    segment_row = row * segments + segment
    split_row = block * batch * directions + row

    d_local = block * DIMS + tl.arange(0, DIMS)
    d_in = d_local < group_dim
    d = aligned_to_four(g * group_dim + d_local, b)
    if not WIDE:
        d = d.to(tl.int32)
    steps = tl.arange(0, STEPS)
    A_row = vector(A, k * A_k, d, d_in)
    skip = vector(D, k * D_k, d * D_d, d_in)
    bias = vector(delta_bias, k * bias_k, d * bias_d, d_in)
    u += b * u_b + k * u_k
    delta += b * delta_b + k * delta_k
    B += b * B_b + k * B_k + g * B_g
    C += b * C_b + k * C_k + g * C_g
    grad_out += b * grad_out_b
    grad_u += row * length * dim
    grad_delta += row * length * dim
    grad_B += split_row * length * groups + g
    grad_C += split_row * length * groups + g
    if orders is not None:
        orders += k * length
    checkpoints += row * tl.cdiv(length, STEPS) * dim

    carry = tl.zeros([1, DIMS, 1], tl.float32)
    sum_A = tl.zeros([STEPS, DIMS], tl.float32)
    sum_D = tl.zeros([STEPS, DIMS], tl.float32)
    sum_bias = tl.zeros([STEPS, DIMS], tl.float32)
    begin = (segment * segment_length).to(tl.int32)
    end = tl.minimum(begin + segment_length, length)
    # The last tile comes first. A tile is loaded while the one after it is computed, its tokens one
    # tile earlier still.
    last = (end - 1) // STEPS * STEPS
    t = last + steps
    inside = t < end
    mask = inside[:, None] & d_in[None, :]
    token = visited(orders, t, inside, WIDE)
    place = token if ORDER_ALL else t.to(token.dtype)
    u_raw = tokens_of(u, token, d, u_t, u_d, mask)
    delta_raw = tokens_of(delta, place, d, delta_t, delta_d, mask)
    dy_raw = tokens_of(grad_out, token, d, grad_out_t, grad_out_d, mask)
    B_raw, C_raw = numbers_of(B, place, B_t, inside), numbers_of(C, place, C_t, inside)
    next_token = visited(orders, t - STEPS, t - STEPS >= begin, WIDE)
    # A tile's first state is a checkpoint, which takes part as if it entered with the first step.
    is_first = d_in[None, :] & (steps[:, None] == 0)
    channels = tl.broadcast_to(d[None, :], [STEPS, DIMS])
    next_h = load(checkpoints, last // STEPS * dim + channels, is_first)
    for tile_back in range(tl.cdiv(end - begin, STEPS)):
        t0 = last - tile_back * STEPS
        this_token, this_place, this_inside, this_mask = token, place, inside, mask
        u_tile, raw = u_raw.to(tl.float32), delta_raw.to(tl.float32) + bias
        dy = dy_raw.to(tl.float32)
        B_tile, C_tile = B_raw.to(tl.float32), C_raw.to(tl.float32)
        h_tile = next_h

        t = t0 - STEPS + steps
        inside = t >= begin
        mask = inside[:, None] & d_in[None, :]
        token = next_token
        place = token if ORDER_ALL else t.to(token.dtype)
        u_raw = tokens_of(u, token, d, u_t, u_d, mask)
        delta_raw = tokens_of(delta, place, d, delta_t, delta_d, mask)
        dy_raw = tokens_of(grad_out, token, d, grad_out_t, grad_out_d, mask)
        B_raw, C_raw = numbers_of(B, place, B_t, inside), numbers_of(C, place, C_t, inside)
        next_token = visited(orders, t - STEPS, t - STEPS >= begin, WIDE)
        next_h = load(checkpoints, (t0 // STEPS - 1) * dim + channels, is_first & (t0 > begin))

        step = softplus(raw) if SOFTPLUS else raw
        delta_tile = step
        if after is not None:
            # Without a gradient from behind, what steps behind the last one do meets zeros.
            delta_tile = tl.where(this_mask, step, 0.0)
        decay = tl.exp2(delta_tile * (A_row * LOG2E))
        # What meets the gradients of the states is made here, where all of a tile lies.
        weight = delta_tile * B_tile
        entry = weight * u_tile
        arriving = dy * C_tile
        if after is not None:
            is_last = d_in[None, :] & (steps[:, None] == STEPS - 1) & (tile_back == 0)
            arriving += load(after, segment_row * dim + channels, is_last)
        decay3, entry3 = spread(decay, entry + decay * h_tile, STEPS, DIMS)
        _, arriving3 = spread(decay, arriving, STEPS, DIMS)
        before, _ = recur(decay3, entry3, tl.zeros([1, DIMS, 1], tl.float32), STEPS)
        dh, carry = recur_back(decay3, arriving3, carry, STEPS)

        kept = decay * (before + h_tile)
        dB = tl.sum(dh * (delta_tile * u_tile), axis=1, keep_dims=True)
        dC = tl.sum(dy * (kept + entry), axis=1, keep_dims=True)
        exponent = dh * kept
        d_delta = exponent * A_row + dh * (u_tile * B_tile)
        if SOFTPLUS:
            d_delta *= slope(raw, step)
        if after is not None:
            d_delta = tl.where(this_mask, d_delta, 0.0)
        du, d_delta = finish(dh * weight + skip * dy, d_delta, STEPS, DIMS)
        at, to = this_token[:, None], this_place[:, None]
        du = du.to(grad_u.dtype.element_ty)
        tl.store(grad_u + (at * dim + d[None, :]), du, mask=this_mask)
        rounded = d_delta.to(grad_delta.dtype.element_ty)
        tl.store(grad_delta + (to * dim + d[None, :]), rounded, mask=this_mask)
        tl.store(grad_B + to * groups, dB, mask=this_inside[:, None])
        tl.store(grad_C + to * groups, dC, mask=this_inside[:, None])
        sum_A += exponent * delta_tile
        sum_D += dy * u_tile
        sum_bias += d_delta

    to = segment_row * dim + d
    tl.store(grad_A + to, tl.sum(sum_A, axis=0), mask=d_in)
    if grad_D is not None:
        tl.store(grad_D + to, tl.sum(sum_D, axis=0), mask=d_in)
    if grad_bias is not None:
        tl.store(grad_bias + to, tl.sum(sum_bias, axis=0), mask=d_in)

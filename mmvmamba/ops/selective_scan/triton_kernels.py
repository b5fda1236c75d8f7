"""The Triton kernels of the selective scan: CUDA, ROCm, and the CPU under Triton's interpreter.

A program owns ``DIMS`` channels of one batch element and direction and keeps their states in
float32 registers. It walks the sequence in tiles of ``STEPS`` steps: a tile is loaded at once,
coalesced, then scanned step by step. Tiles are ``(STEPS, DIMS, STATE)``; a thread holds all steps
of its few states, so ``pick`` and ``put`` only name registers and cost nothing.

Shared by all kernels: tensors lie as in ``ScanArgs``, and ``u_k`` is the stride of ``u`` along the
directions (0 where they share it), ``_b`` along batch, ``_t`` length, ``_d`` dim, ``_g`` groups,
``_n`` state. A direction's A lies contiguous, and so does what a kernel writes. ``state`` is a
constant, so that the compiler knows what is a multiple of it. A *segment* is a part of the sequence
with its own programs, a *chunk* the steps between two checkpoints (segments end where chunks do),
and a tensor's *place* of step t is the token visited then, or t itself. Every offset has 64 bits.
"""

import triton
import triton.language as tl

from .triton_functions import (
    LN2,
    LOG2E,
    SIZES,
    load,
    pick,
    place_at,
    put,
    slope,
    spread,
    step_size,
    tokens_at,
    vector,
)
from .triton_segments import (
    selective_scan_carry_kernel,
    selective_scan_gate_kernel,
    selective_scan_segment_kernel,
)
from .triton_single_state import single_state_bwd_kernel, single_state_fwd_kernel

__all__ = [
    'selective_scan_bwd_kernel',
    'selective_scan_carry_kernel',
    'selective_scan_fwd_kernel',
    'selective_scan_gate_kernel',
    'selective_scan_segment_kernel',
    'single_state_bwd_kernel',
    'single_state_fwd_kernel',
]


@triton.jit(do_not_specialize=SIZES)
def selective_scan_fwd_kernel(
    u, delta, A, B, C, D, delta_bias, orders, start_states, out, last_state, checkpoints,
    u_b, u_k, u_t, u_d, delta_b, delta_k, delta_t, delta_d, A_k,
    B_b, B_k, B_t, B_g, B_n, C_b, C_k, C_t, C_g, C_n, D_k, D_d, bias_k, bias_d,
    directions, length, groups, group_dim, segments, segment_length, chunk_length,
    state: tl.constexpr, SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, SHARED: tl.constexpr,
    SHARED_PADDED: tl.constexpr, STEPS: tl.constexpr, DIMS: tl.constexpr, STATE: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Outputs ``(batch, directions, length, dim)`` at the tokens' own places.

    ``SHARED`` directions that have delta and A in common run in one program, which computes their
    decays once. ``start_states`` ``(batch, directions, segments, dim, state)``, None: zero.
    """
    blocks = tl.cdiv(group_dim, DIMS)
    pid = tl.program_id(0).to(tl.int64)
    block, pid = pid % blocks, pid // blocks
    g, pid = pid % groups, pid // groups
    segment, pid = pid % segments, pid // segments
    k0 = pid % (directions // SHARED) * SHARED
    b = pid // (directions // SHARED)
    dim = groups * group_dim

    d_local = block * DIMS + tl.arange(0, DIMS)
    d_in = d_local < group_dim
    d = g * group_dim + d_local
    n = tl.arange(0, STATE)[None, None, :]
    n_in = n < state
    steps = tl.arange(0, STEPS)
    index = steps[:, None, None]
    which = tl.arange(0, SHARED_PADDED)[:, None, None]
    d3 = d[None, :, None]
    dn_in = d_in[None, :, None] & n_in
    kdn_in = dn_in & (which < SHARED)
    row = b * directions + k0 + which

    A2 = load(A, k0 * A_k + d3 * state + n, dn_in) * LOG2E
    states = tl.zeros([SHARED_PADDED, DIMS, STATE], tl.float32)
    if start_states is not None:
        # One by one: a load of all directions would spread them over the threads.
        for j in tl.static_range(SHARED):
            start = ((b * directions + k0 + j) * segments + segment) * dim + d3
            states = put(states, which, j, load(start_states, start * state + n, dn_in))
    bias = vector(delta_bias, k0 * bias_k, d * bias_d, d_in)
    skips = ()
    for j in tl.static_range(SHARED):
        skips += (vector(D, (k0 + j) * D_k, d * D_d, d_in),)
    chunks = tl.cdiv(length, chunk_length)
    begin = segment * segment_length
    end = tl.minimum(begin + segment_length, length)
    for chunk_begin in range(begin, end, chunk_length):
        if checkpoints is not None:
            saved = ((row * chunks + chunk_begin // chunk_length) * state + n) * dim + d3
            tl.store(checkpoints + saved, states, mask=kdn_in)
        chunk_end = tl.minimum(chunk_begin + chunk_length, end)
        for t0 in tl.range(chunk_begin, chunk_end, STEPS, num_stages=STAGES):
            t = t0 + steps
            inside = t < chunk_end
            mask = inside[:, None] & d_in[None, :]
            for j in tl.static_range(SHARED):
                k = k0 + j
                token = tokens_at(orders, k, t, inside, length)
                u_tile = load(u, b * u_b + k * u_k + token[:, None] * u_t + d[None, :] * u_d, mask)
                if j == 0:
                    place = place_at(orders, k, t, inside, length, ORDER_ALL)
                    raw = bias + load(
                        delta,
                        b * delta_b + k * delta_k + place[:, None] * delta_t + d[None, :] * delta_d,
                        mask,
                    )
                # All loads of a tile stand together: each alone would be waited for.
                places, Bs, Cs = (), (), ()
                for i in tl.static_range(STEPS):
                    places += (place_at(orders, k, t0 + i, t0 + i < chunk_end, length, ORDER_ALL),)
                for i in tl.static_range(STEPS):
                    i_in, at = n_in & (t0 + i < chunk_end), places[i]
                    Bs += (load(B, b * B_b + k * B_k + g * B_g + at * B_t + n * B_n, i_in),)
                    Cs += (load(C, b * C_b + k * C_k + g * C_g + at * C_t + n * C_n, i_in),)
                if j == 0:
                    delta_tile = step_size(raw, mask, SOFTPLUS)
                delta3, input3 = spread(delta_tile, delta_tile * u_tile, STEPS, DIMS)
                if j == 0:
                    decay = tl.exp2(delta3 * A2)
                h = pick(states, which, j)
                products = tl.zeros([STEPS, DIMS, STATE], tl.float32)
                for i in tl.static_range(STEPS):
                    h = pick(decay, index, i) * h + pick(input3, index, i) * Bs[i]
                    products = put(products, index, i, h * Cs[i])
                states = put(states, which, j, h)
                y = tl.sum(products, axis=2)
                y += skips[j] * u_tile
                to = ((b * directions + k) * length + token[:, None]) * dim + d[None, :]
                tl.store(out + to, y.to(out.dtype.element_ty), mask=mask)
    if last_state is not None:
        mask = kdn_in & (segment == segments - 1)
        tl.store(last_state + (row * dim + d3) * state + n, states, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def selective_scan_bwd_kernel(
    u, delta, A, B, C, D, delta_bias, orders, checkpoints, after, grad_out,
    grad_u, grad_delta, grad_A, grad_D, grad_bias, grad_B, grad_C,
    u_b, u_k, u_t, u_d, delta_b, delta_k, delta_t, delta_d, A_k,
    B_b, B_k, B_t, B_g, B_n, C_b, C_k, C_t, C_g, C_n, D_k, D_d, bias_k, bias_d,
    grad_out_b, grad_out_t, grad_out_d, scratch,
    batch, directions, length, groups, group_dim, splits, segments, segment_length,
    chunk_length, scratch_size,
    state: tl.constexpr, SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, STEPS: tl.constexpr,
    DIMS: tl.constexpr, STATE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradients of one direction, in float32 sums that the host adds up.

    Goes back chunk by chunk, tile by tile: the states at the start of each tile of the chunk are
    recomputed from its checkpoint into ``scratch``, those inside the tile into registers. With
    ``after`` ``(batch, directions, segments, dim, state)`` the gradient of the states after each
    segment, None: zero, the recurrence of the gradient runs backward:
    ``carry[t] = decay[t] * (carry[t + 1] + grad_out[t] * C[t])``.

    Writes ``grad_u`` and ``grad_delta`` ``(batch, directions, length, dim)``; ``grad_A``,
    ``grad_D`` and ``grad_bias`` ``(batch, directions, segments, dim[, state])``; ``grad_B`` and
    ``grad_C`` ``(splits, batch, directions, length, groups, state)``. A program handles every
    ``splits``-th block of channels of its group, one after the other, and adds up ``grad_B`` and
    ``grad_C`` of them.
    """
    program = tl.program_id(0).to(tl.int64)
    split, pid = program % splits, program // splits
    g, pid = pid % groups, pid // groups
    segment, pid = pid % segments, pid // segments
    k, b = pid % directions, pid // directions
    dim = groups * group_dim
    row = b * directions + k
    segment_row = row * segments + segment
    split_row = split * batch * directions + row

    d_block = tl.arange(0, DIMS)
    n = tl.arange(0, STATE)[None, None, :]
    n_in = n < state
    steps = tl.arange(0, STEPS)
    index = steps[:, None, None]
    chunks = tl.cdiv(length, chunk_length)
    begin = segment * segment_length
    end = tl.minimum(begin + segment_length, length)
    segment_chunks = tl.cdiv(end - begin, chunk_length)
    u += b * u_b + k * u_k
    delta += b * delta_b + k * delta_k
    B += b * B_b + k * B_k + g * B_g
    C += b * C_b + k * C_k + g * C_g
    grad_out += b * grad_out_b
    scratch += program * scratch_size + d_block[None, :, None] * STATE + n

    for block in range(split, tl.cdiv(group_dim, DIMS), splits):
        d_in = block * DIMS + d_block < group_dim
        d = g * group_dim + block * DIMS + d_block
        d3 = d[None, :, None]
        dn_in = d_in[None, :, None] & n_in
        A2 = load(A, k * A_k + d3 * state + n, dn_in) * LOG2E
        skip = vector(D, k * D_k, d * D_d, d_in)
        bias = vector(delta_bias, k * bias_k, d * bias_d, d_in)
        carry = tl.zeros([1, DIMS, STATE], tl.float32)
        if after is not None:
            carry = load(after, (segment_row * dim + d3) * state + n, dn_in)
        sum_A = tl.zeros([1, DIMS, STATE], tl.float32)
        sum_D = tl.zeros([STEPS, DIMS], tl.float32)
        sum_bias = tl.zeros([STEPS, DIMS], tl.float32)

        for chunk in range(segment_chunks):
            chunk_begin = begin + (segment_chunks - 1 - chunk) * chunk_length
            chunk_end = tl.minimum(chunk_begin + chunk_length, end)
            tiles = tl.cdiv(chunk_end - chunk_begin, STEPS)
            saved = ((row * chunks + chunk_begin // chunk_length) * state + n) * dim + d3
            # By way of scratch, the state takes the layout that the scan wants.
            tl.store(scratch, load(checkpoints, saved, dn_in))
            tl.debug_barrier()
            h = tl.load(scratch)
            for tile in tl.range(1, tiles, num_stages=STAGES):
                t0 = chunk_begin + (tile - 1) * STEPS
                t = t0 + steps
                # All tiles but a chunk's last are full.
                inside = t < chunk_end
                mask = inside[:, None] & d_in[None, :]
                token = tokens_at(orders, k, t, inside, length)
                place = place_at(orders, k, t, inside, length, ORDER_ALL)
                # All loads of a tile stand together: each alone would be waited for.
                places, Bs = (), ()
                for i in tl.static_range(STEPS):
                    i_in = t0 + i < chunk_end
                    places += (place_at(orders, k, t0 + i, i_in, length, ORDER_ALL),)
                raw = bias + load(delta, place[:, None] * delta_t + d[None, :] * delta_d, mask)
                u_tile = load(u, token[:, None] * u_t + d[None, :] * u_d, mask)
                for i in tl.static_range(STEPS):
                    i_in = t0 + i < chunk_end
                    Bs += (load(B, places[i] * B_t + n * B_n, n_in & i_in),)
                delta_tile = step_size(raw, mask, SOFTPLUS)
                delta3, input3 = spread(delta_tile, delta_tile * u_tile, STEPS, DIMS)
                for i in tl.static_range(STEPS):
                    h = tl.exp2(pick(delta3, index, i) * A2) * h + pick(input3, index, i) * Bs[i]
                tl.store(scratch + tile * DIMS * STATE, h)
            tl.debug_barrier()

            for tile_back in tl.range(tiles, num_stages=STAGES):
                tile = tiles - 1 - tile_back
                t0 = chunk_begin + tile * STEPS
                t = t0 + steps
                inside = t < chunk_end
                mask = inside[:, None] & d_in[None, :]
                token = tokens_at(orders, k, t, inside, length)
                place = place_at(orders, k, t, inside, length, ORDER_ALL)
                # All loads stand together, and before the first store: behind one, which may write
                # where they read, they would have to wait.
                places, Bs, Cs, dBs, dCs = (), (), (), (), ()
                for i in tl.static_range(STEPS):
                    i_in = t0 + i < chunk_end
                    places += (place_at(orders, k, t0 + i, i_in, length, ORDER_ALL),)
                h = tl.load(scratch + tile * DIMS * STATE)
                raw = bias + load(delta, place[:, None] * delta_t + d[None, :] * delta_d, mask)
                u_tile = load(u, token[:, None] * u_t + d[None, :] * u_d, mask)
                dy = load(grad_out, token[:, None] * grad_out_t + d[None, :] * grad_out_d, mask)
                for i in tl.static_range(STEPS):
                    i_in = t0 + i < chunk_end
                    to = ((split_row * length + places[i]) * groups + g) * state + n
                    is_later = n_in & i_in & (block != split)
                    Bs += (load(B, places[i] * B_t + n * B_n, n_in & i_in),)
                    Cs += (load(C, places[i] * C_t + n * C_n, n_in & i_in),)
                    dBs += (load(grad_B, to, is_later),)
                    dCs += (load(grad_C, to, is_later),)
                delta_tile = step_size(raw, mask, SOFTPLUS)
                delta3, input3 = spread(delta_tile, delta_tile * u_tile, STEPS, DIMS)
                dy3 = dy[:, :, None]
                decay = tl.exp2(delta3 * A2)

                before = tl.zeros([STEPS, DIMS, STATE], tl.float32)
                for i in tl.static_range(STEPS):
                    before = put(before, index, i, h)
                    h = pick(decay, index, i) * h + pick(input3, index, i) * Bs[i]

                # grad_out . C B u and the gradient of the exponent, summed over the states.
                d_input = tl.zeros([STEPS, DIMS, 1], tl.float32)
                d_exponent = tl.zeros([STEPS, DIMS, 1], tl.float32)
                for step in tl.static_range(STEPS):
                    i = STEPS - 1 - step
                    i_in = t0 + i < chunk_end
                    at = place_at(orders, k, t0 + i, i_in, length, ORDER_ALL)
                    B_i, C_i = Bs[STEPS - 1 - step], Cs[STEPS - 1 - step]
                    dy_i = pick(dy3, index, i)
                    input_i = pick(input3, index, i)
                    before_i = pick(before, index, i)
                    decay_i = pick(decay, index, i)
                    dh = carry + dy_i * C_i
                    carry = decay_i * dh
                    exponent = carry * before_i
                    sum_A += exponent * pick(delta3, index, i)
                    dB_i = tl.sum(dh * input_i, axis=1, keep_dims=True)
                    dC_i = tl.sum(
                        dy_i * (decay_i * before_i + input_i * B_i), axis=1, keep_dims=True
                    )
                    d_input = put(d_input, index, i, tl.sum(dh * B_i, axis=2, keep_dims=True))
                    d_exponent = put(
                        d_exponent, index, i, tl.sum(exponent * A2, axis=2, keep_dims=True)
                    )
                    at = places[STEPS - 1 - step]
                    to = ((split_row * length + at) * groups + g) * state + n
                    tl.store(grad_B + to, dB_i + dBs[STEPS - 1 - step], mask=n_in & i_in)
                    tl.store(grad_C + to, dC_i + dCs[STEPS - 1 - step], mask=n_in & i_in)

                d_input = tl.sum(d_input, axis=2)
                d_delta = tl.sum(d_exponent, axis=2) * LN2 + u_tile * d_input
                if SOFTPLUS:
                    d_delta *= slope(raw, delta_tile)
                d_delta = tl.where(mask, d_delta, 0.0)
                du = delta_tile * d_input + skip * dy
                to = (row * length + token[:, None]) * dim + d[None, :]
                tl.store(grad_u + to, du.to(grad_u.dtype.element_ty), mask=mask)
                to = (row * length + place[:, None]) * dim + d[None, :]
                tl.store(grad_delta + to, d_delta.to(grad_delta.dtype.element_ty), mask=mask)
                sum_D += dy * u_tile
                sum_bias += d_delta
            # The next chunk or block overwrites scratch and adds to grad_B and grad_C.
            tl.debug_barrier()

        tl.store(grad_A + (segment_row * dim + d3) * state + n, sum_A, mask=dn_in)
        if grad_D is not None:
            tl.store(grad_D + segment_row * dim + d, tl.sum(sum_D, axis=0), mask=d_in)
        if grad_bias is not None:
            tl.store(grad_bias + segment_row * dim + d, tl.sum(sum_bias, axis=0), mask=d_in)

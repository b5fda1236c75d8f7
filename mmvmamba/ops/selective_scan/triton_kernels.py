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
    load,
    pick,
    place_at,
    put,
    sigmoid,
    spread,
    step_size,
    tokens_at,
    vector,
)

__all__ = [
    'selective_scan_bwd_kernel',
    'selective_scan_carry_kernel',
    'selective_scan_fwd_kernel',
    'selective_scan_gate_kernel',
    'selective_scan_segment_kernel',
]


# What follows the size of an image: no variant of a kernel for what happens to be a multiple of 16.
SIZES = ['batch', 'length', 'segments', 'segment_length', 'chunk_length', 'splits', 'scratch_size']


@triton.jit(do_not_specialize=SIZES)
def selective_scan_fwd_kernel(
    u, delta, A, B, C, D, delta_bias, orders, start_states, out, last_state, checkpoints,
    u_b, u_k, u_t, u_d, delta_b, delta_k, delta_t, delta_d, A_k,
    B_b, B_k, B_t, B_g, B_n, C_b, C_k, C_t, C_g, C_n, D_k, D_d, bias_k, bias_d,
    directions, length, groups, group_dim, segments, segment_length, chunk_length,
    state: tl.constexpr, SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, SHARED: tl.constexpr,
    SHARED_PADDED: tl.constexpr, STEPS: tl.constexpr, DIMS: tl.constexpr, STATE: tl.constexpr,
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
        for t0 in range(chunk_begin, chunk_end, STEPS):
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
def selective_scan_segment_kernel(
    x, delta, A, V, delta_bias, orders, states, sums,
    x_b, x_k, x_t, x_d, delta_b, delta_k, delta_t, delta_d, A_k,
    V_b, V_k, V_t, V_g, V_n, bias_k, bias_d,
    directions, length, groups, group_dim, segments, segment_length,
    state: tl.constexpr, SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, REVERSE: tl.constexpr,
    STEPS: tl.constexpr, DIMS: tl.constexpr, STATE: tl.constexpr,
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
    for tile in range(tiles):
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
    out, z, gated, z_b, z_t, z_d, batch, length, dim,
    DIRECTIONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds up what the directions put out, in their order, and gates the sum by ``silu(z)``."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = length * dim
    inside = at < size * batch
    b, rest = at // size, at % size
    gate = load(z, b * z_b + rest // dim * z_t + rest % dim * z_d, inside)
    total = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(DIRECTIONS):
        total += load(out, (b * DIRECTIONS + k) * size + rest, inside)
    y = total * gate * sigmoid(gate)
    tl.store(gated + at, y.to(gated.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def selective_scan_bwd_kernel(
    u, delta, A, B, C, D, delta_bias, orders, checkpoints, after, grad_out,
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, scratch,
    u_b, u_k, u_t, u_d, delta_b, delta_k, delta_t, delta_d, A_k,
    B_b, B_k, B_t, B_g, B_n, C_b, C_k, C_t, C_g, C_n, D_k, D_d, bias_k, bias_d,
    grad_out_b, grad_out_t, grad_out_d,
    batch, directions, length, groups, group_dim, splits, segments, segment_length,
    chunk_length, scratch_size,
    state: tl.constexpr, SOFTPLUS: tl.constexpr, ORDER_ALL: tl.constexpr, STEPS: tl.constexpr,
    DIMS: tl.constexpr, STATE: tl.constexpr,
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
            for tile in range(1, tiles):
                t0 = chunk_begin + (tile - 1) * STEPS
                t = t0 + steps
                # All tiles but a chunk's last are full.
                inside = t < chunk_end
                mask = inside[:, None] & d_in[None, :]
                token = tokens_at(orders, k, t, inside, length)
                place = place_at(orders, k, t, inside, length, ORDER_ALL)
                raw = bias + load(delta, place[:, None] * delta_t + d[None, :] * delta_d, mask)
                delta_tile = step_size(raw, mask, SOFTPLUS)
                u_tile = load(u, token[:, None] * u_t + d[None, :] * u_d, mask)
                delta3, input3 = spread(delta_tile, delta_tile * u_tile, STEPS, DIMS)
                for i in tl.static_range(STEPS):
                    at = place_at(orders, k, t0 + i, t0 + i < chunk_end, length, ORDER_ALL)
                    B_i = load(B, at * B_t + n * B_n, n_in)
                    h = tl.exp2(pick(delta3, index, i) * A2) * h + pick(input3, index, i) * B_i
                tl.store(scratch + tile * DIMS * STATE, h)
            tl.debug_barrier()

            for tile_back in range(tiles):
                tile = tiles - 1 - tile_back
                t0 = chunk_begin + tile * STEPS
                t = t0 + steps
                inside = t < chunk_end
                mask = inside[:, None] & d_in[None, :]
                token = tokens_at(orders, k, t, inside, length)
                place = place_at(orders, k, t, inside, length, ORDER_ALL)
                raw = bias + load(delta, place[:, None] * delta_t + d[None, :] * delta_d, mask)
                delta_tile = step_size(raw, mask, SOFTPLUS)
                u_tile = load(u, token[:, None] * u_t + d[None, :] * u_d, mask)
                dy = load(grad_out, token[:, None] * grad_out_t + d[None, :] * grad_out_d, mask)
                delta3, input3 = spread(delta_tile, delta_tile * u_tile, STEPS, DIMS)
                dy3 = dy[:, :, None]
                decay = tl.exp2(delta3 * A2)

                h = tl.load(scratch + tile * DIMS * STATE)
                before = tl.zeros([STEPS, DIMS, STATE], tl.float32)
                # All loads stand before the first store: behind one, which may write where they
                # read, they would have to wait.
                Bs, Cs, dBs, dCs = (), (), (), ()
                for i in tl.static_range(STEPS):
                    i_in = t0 + i < chunk_end
                    at = place_at(orders, k, t0 + i, i_in, length, ORDER_ALL)
                    to = ((split_row * length + at) * groups + g) * state + n
                    is_later = n_in & i_in & (block != split)
                    Bs += (load(B, at * B_t + n * B_n, n_in & i_in),)
                    Cs += (load(C, at * C_t + n * C_n, n_in & i_in),)
                    dBs += (load(grad_B, to, is_later),)
                    dCs += (load(grad_C, to, is_later),)
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
                    to = ((split_row * length + at) * groups + g) * state + n
                    tl.store(grad_B + to, dB_i + dBs[STEPS - 1 - step], mask=n_in & i_in)
                    tl.store(grad_C + to, dC_i + dCs[STEPS - 1 - step], mask=n_in & i_in)

                d_input = tl.sum(d_input, axis=2)
                d_delta = tl.sum(d_exponent, axis=2) * LN2 + u_tile * d_input
                if SOFTPLUS:
                    d_delta *= sigmoid(raw)
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

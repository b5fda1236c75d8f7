"""The kernels of the ``numba`` backend. Only ``numba.py`` imports this module, at the first scan.

A task is one batch element, one block of ``LANES`` channels of one group and all (or, where there
are few tasks, one of the) directions. A kernel does the tasks ``first..last - 1``, so that threads
share a call and each memory cell is written by one of them.

A tensor comes as the flat memory that it spans and its strides (batch, direction, length, ...); one
that all directions share has stride 0 along them. ``A``, ``D`` and ``delta_bias`` come packed in
blocks: ``A`` as (directions or 1, blocks, state, LANES) and multiplied by log2(e).
"""

from collections import namedtuple

import numpy as np
from numba import njit

from .lanes import LANES, broadcast, exp2, load, sigmoid, softplus, splat, store, total
from .team import in_parallel, next_task, next_thread

__all__ = [
    'Scan', 'backward_in_parallel', 'backward_kernel', 'forward_in_parallel', 'forward_kernel',
]  # fmt: skip

# What both kernels read. `A_step` is 1 if A is per direction and 0 if shared, likewise the others.
# With `shared_decay`, every direction has the same exp(delta * A) at each step. `splits` is the
# number of parts, 1 or all, in which the directions of a block are dealt to tasks; `blocks` counts
# the blocks of one group.
Scan = namedtuple(
    'Scan',
    [
        'u', 'u_strides', 'delta', 'delta_strides', 'B', 'B_strides', 'C', 'C_strides',
        'A', 'A_step', 'D', 'D_step', 'delta_bias', 'bias_step', 'orders',
        'delta_softplus', 'order_all', 'shared_decay', 'splits', 'chunk_length',
        'batch', 'directions', 'length', 'groups', 'blocks', 'group_dim', 'state',
    ],
)  # fmt: skip

LN2 = np.float32(np.log(2))
ZERO = np.float32(0)

# Without counting references to the arguments: the threads would share the counts, and spend half
# of their time on passing them to each other.
_kernel = njit(nogil=True, cache=True, error_model='numpy', _nrt=False)
_inline = njit(forceinline=True, error_model='numpy', _nrt=False)


@_inline
def num_tasks(s):
    """How many pieces of work there are: each a block of channels of one batch element."""
    return s.splits * s.batch * s.groups * s.blocks


@_inline
def _task(s, task):
    """Batch element, block, group, first channel and width of the block, range of directions."""
    blocks = s.groups * s.blocks
    split, rest = divmod(task, s.batch * blocks)
    b, block = divmod(rest, blocks)
    group, index = divmod(block, s.blocks)
    width = min(LANES, s.group_dim - index * LANES)
    k_first = split * s.directions // s.splits
    k_last = (split + 1) * s.directions // s.splits
    return split, b, block, group, group * s.group_dim + index * LANES, width, k_first, k_last


@_inline
def _at(strides, b, k, t):
    return b * strides[0] + k * strides[1] + t * strides[2]


@_inline
def _load_row(array, position, stride, width, row):
    """A token's channels of the block; lanes beyond ``width`` stay 0, as ``row`` holds them."""
    if stride == 1 and width == LANES:
        return load(array, position)
    for i in range(width):
        row[i] = array[position + i * stride]
    return load(row, 0)


@_inline
def _store_row(array, position, width, row, value):
    if width == LANES:
        store(array, position, value)
    else:
        store(row, LANES, value)
        for i in range(width):
            array[position + i] = row[LANES + i]


@_inline
def _add_row(array, position, width, row, value):
    _store_row(array, position, width, row, value + _load_row(array, position, 1, width, row))


@_inline
def _raw_step(s, b, k, place, block, channel, width, row):
    """delta + delta_bias."""
    position = _at(s.delta_strides, b, k, place) + channel * s.delta_strides[3]
    raw = _load_row(s.delta, position, s.delta_strides[3], width, row)
    return raw + load(s.delta_bias, (k * s.bias_step + block) * LANES)


@_inline
def _load_u(s, b, k, token, channel, width, row):
    position = _at(s.u_strides, b, k, token) + channel * s.u_strides[3]
    return _load_row(s.u, position, s.u_strides[3], width, row)


@_inline
def _write_states(array, position, dim, states, first, state, width):
    """Copies states (state, LANES) to rows of ``width`` channels in (state, dim)."""
    for n in range(state):
        for i in range(width):
            array[position + n * dim + i] = states[first + n * LANES + i]


def forward_workspace(s):
    """How many floats a thread of ``forward_kernel`` works on."""
    return 2 * LANES + (1 + s.directions) * s.state * LANES


@_kernel
def forward_kernel(counter, workspace, s, accumulate, out, last_state, checkpoints):
    """Fills ``out`` (splits, batch, length, dim) and, where they are not empty, ``last_state``
    (batch, directions, state, dim) and ``checkpoints`` (batch, directions, chunks, state, dim)."""
    dim = s.groups * s.group_dim
    size = s.state * LANES
    memory = workspace[next_thread(counter)]
    row, memory = memory[: 2 * LANES], memory[2 * LANES :]
    decays, states = memory[:size], memory[size:]
    task = next_task(counter)
    while task < num_tasks(s):
        split, b, block, group, channel, width, k_first, k_last = _task(s, task)
        states[:] = 0.0
        row[:] = 0.0
        # With shared decays all directions advance together, else one after the other.
        together = k_last - k_first if s.shared_decay else 1
        for k_start in range(k_first, k_last, together):
            for t in range(s.length):
                if s.shared_decay:
                    step = _raw_step(s, b, 0, t, block, channel, width, row)
                    if s.delta_softplus:
                        step = softplus(step)
                    _write_decays(s, step, block * size, decays, 0)
                for k in range(k_start, k_start + together):
                    if s.chunk_length and t % s.chunk_length == 0:
                        chunks = (s.length - 1) // s.chunk_length + 1
                        chunk = (b * s.directions + k) * chunks + t // s.chunk_length
                        position = chunk * s.state * dim + channel
                        _write_states(checkpoints, position, dim, states, k * size, s.state, width)
                    token = s.orders[k, t]
                    place = token if s.order_all else t
                    u = _load_u(s, b, k, token, channel, width, row)
                    B = _at(s.B_strides, b, k, place) + group * s.B_strides[3]
                    C = _at(s.C_strides, b, k, place) + group * s.C_strides[3]
                    if s.shared_decay:
                        y = _advance_with(s, decays, B, C, step * u, states, k * size)
                    else:
                        step = _raw_step(s, b, k, place, block, channel, width, row)
                        if s.delta_softplus:
                            step = softplus(step)
                        A = (k * s.A_step + block) * size
                        y = _advance(s, step, A, B, C, step * u, states, k * size)
                    if s.D.size:
                        y = y + u * load(s.D, (k * s.D_step + block) * LANES)
                    position = ((split * s.batch + b) * s.length + token) * dim + channel
                    if accumulate:
                        _add_row(out, position, width, row, y)
                    else:
                        _store_row(out, position, width, row, y)
        if last_state.size:
            for k in range(k_first, k_last):
                position = (b * s.directions + k) * s.state * dim + channel
                _write_states(last_state, position, dim, states, k * size, s.state, width)
        task = next_task(counter)


@_inline
def _write_decays(s, step, A, decays, position):
    """exp(delta * A) of one step."""
    for n in range(s.state):
        store(decays, position + n * LANES, exp2(step * load(s.A, A + n * LANES)))


@_inline
def _advance(s, step, A, B, C, entry, states, state):
    """Takes the states of one direction through one step; returns the output."""
    y = splat(ZERO)
    for n in range(s.state):
        decay = exp2(step * load(s.A, A + n * LANES))
        h = load(states, state + n * LANES) * decay + entry * broadcast(s.B, B + n * s.B_strides[4])
        store(states, state + n * LANES, h)
        y = y + h * broadcast(s.C, C + n * s.C_strides[4])
    return y


@_inline
def _advance_with(s, decays, B, C, entry, states, state):
    """As ``_advance``, with decays that are known."""
    y = splat(ZERO)
    for n in range(s.state):
        decay = load(decays, n * LANES)
        h = load(states, state + n * LANES) * decay + entry * broadcast(s.B, B + n * s.B_strides[4])
        store(states, state + n * LANES, h)
        y = y + h * broadcast(s.C, C + n * s.C_strides[4])
    return y


def backward_workspace(s):
    """How many floats a thread of ``backward_kernel`` works on."""
    states = s.directions + 2 * s.chunk_length + 1
    return (2 + s.chunk_length + states * s.state) * LANES


@_kernel
def backward_kernel(
    counter, workspace, s, checkpoints, grad_out, grad_out_strides, grad_last_state,
    du, du_step, ddelta, ddelta_step, dA, dB, dB_step, dC, dC_step, dD, ddelta_bias,
):  # fmt: skip
    """Adds to gradients that are zero: ``du`` (splits, batch, directions or 1, length, dim), with
    ``du_step`` 1 or 0; ``ddelta`` alike; ``dB`` and ``dC`` (splits, blocks of a group, batch,
    directions or 1, length, groups, state), to be summed over blocks; ``dA`` (batch, directions,
    all blocks, state, LANES), ``dD`` and ``ddelta_bias`` (batch, directions, all blocks, LANES).
    """
    dim = s.groups * s.group_dim
    size = s.state * LANES
    memory = workspace[next_thread(counter)]
    row, memory = memory[: 2 * LANES], memory[2 * LANES :]
    steps, memory = memory[: s.chunk_length * LANES], memory[s.chunk_length * LANES :]
    decays, memory = memory[: s.chunk_length * size], memory[s.chunk_length * size :]
    carries, states = memory[: s.directions * size], memory[s.directions * size :]
    chunks = (s.length - 1) // s.chunk_length + 1
    task = next_task(counter)
    while task < num_tasks(s):
        split, b, block, group, channel, width, k_first, k_last = _task(s, task)
        row[:] = 0.0
        carries[:] = 0.0
        states[:] = 0.0
        if grad_last_state.size:
            for k in range(k_first, k_last):
                position = (b * s.directions + k) * s.state * dim + channel
                _read_states(grad_last_state, position, dim, carries, k * size, s.state, width)
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * s.chunk_length
            stop = min(start + s.chunk_length, s.length)
            for k in range(k_first, k_last):
                position = ((b * s.directions + k) * chunks + chunk) * s.state * dim + channel
                _read_states(checkpoints, position, dim, states, 0, s.state, width)
                if k == k_first or not s.shared_decay:
                    _recompute_decays(
                        s, b, k, start, stop, block, channel, width, row, steps, decays
                    )
                _recompute_states(
                    s, b, k, start, stop, group, channel, width, row, steps, decays, states
                )
                owner = (b * s.directions + k) * s.groups * s.blocks + block
                for t in range(stop - 1, start - 1, -1):
                    token = s.orders[k, t]
                    place = token if s.order_all else t
                    i = t - start
                    dy = _load_row(
                        grad_out,
                        _at(grad_out_strides, b, 0, token) + channel * grad_out_strides[3],
                        grad_out_strides[3],
                        width,
                        row,
                    )
                    u = _load_u(s, b, k, token, channel, width, row)
                    step = load(steps, i * LANES)
                    B = _at(s.B_strides, b, k, place) + group * s.B_strides[3]
                    C = _at(s.C_strides, b, k, place) + group * s.C_strides[3]
                    A = (k * s.A_step + block) * size
                    # Rows of dB and dC, in the layout of the docstring.
                    index = split * s.blocks + block % s.blocks
                    outer = index * s.batch + b
                    B_row = _matrix_row(s, outer, k, dB_step, place, group)
                    C_row = _matrix_row(s, outer, k, dC_step, place, group)
                    dentry, dexponent = _retreat(
                        s, step, dy, step * u, A, B, C, states, decays, i * size, carries, k * size,
                        dA, owner * size, dB, B_row, dC, C_row,
                    )  # fmt: skip
                    du_token = step * dentry
                    if s.D.size:
                        du_token = du_token + dy * load(s.D, (k * s.D_step + block) * LANES)
                        store(dD, owner * LANES, load(dD, owner * LANES) + dy * u)
                    ddelta_token = dexponent * splat(LN2) + u * dentry
                    if s.delta_softplus:
                        raw = _raw_step(s, b, k, place, block, channel, width, row)
                        ddelta_token = ddelta_token * sigmoid(raw)
                    bias = load(ddelta_bias, owner * LANES) + ddelta_token
                    store(ddelta_bias, owner * LANES, bias)
                    outer = split * s.batch + b
                    position = _sequence_row(s, outer, k, du_step, token) * dim + channel
                    _add_row(du, position, width, row, du_token)
                    position = _sequence_row(s, outer, k, ddelta_step, place) * dim + channel
                    _add_row(ddelta, position, width, row, ddelta_token)
        task = next_task(counter)


@_inline
def _sequence_row(s, outer, k, step, t):
    return (outer * (1 + (s.directions - 1) * step) + k * step) * s.length + t


@_inline
def _matrix_row(s, outer, k, step, t, group):
    return (_sequence_row(s, outer, k, step, t) * s.groups + group) * s.state


@_inline
def _read_states(array, position, dim, states, first, state, width):
    for n in range(state):
        for i in range(width):
            states[first + n * LANES + i] = array[position + n * dim + i]


@_inline
def _recompute_decays(s, b, k, start, stop, block, channel, width, row, steps, decays):
    """Step sizes and exp(delta * A) of a chunk."""
    for t in range(start, stop):
        place = s.orders[k, t] if s.order_all else t
        step = _raw_step(s, b, k, place, block, channel, width, row)
        if s.delta_softplus:
            step = softplus(step)
        store(steps, (t - start) * LANES, step)
        size = s.state * LANES
        _write_decays(s, step, (k * s.A_step + block) * size, decays, (t - start) * size)


@_inline
def _recompute_states(s, b, k, start, stop, group, channel, width, row, steps, decays, states):
    """The states after each step of a chunk, behind the one before its first step."""
    size = s.state * LANES
    for t in range(start, stop):
        token = s.orders[k, t]
        place = token if s.order_all else t
        i = (t - start) * size
        B = _at(s.B_strides, b, k, place) + group * s.B_strides[3]
        u = _load_u(s, b, k, token, channel, width, row)
        entry = load(steps, (t - start) * LANES) * u
        for n in range(s.state):
            h = load(states, i + n * LANES) * load(decays, i + n * LANES)
            h = h + entry * broadcast(s.B, B + n * s.B_strides[4])
            store(states, i + size + n * LANES, h)


@_inline
def _retreat(
    s, step, dy, entry, A, B, C, states, decays, i, carries, carry,
    dA, dA_row, dB, dB_row, dC, dC_row,
):  # fmt: skip
    """Takes the gradients of one direction back through one step.

    Returns the gradients of delta * u and, divided by ln(2), of delta as it enters the exponent.
    """
    dentry, dexponent = splat(ZERO), splat(ZERO)
    size = s.state * LANES
    for n in range(s.state):
        lane = n * LANES
        before, after = load(states, i + lane), load(states, i + size + lane)
        dstate = load(carries, carry + lane) + dy * broadcast(s.C, C + n * s.C_strides[4])
        dB[dB_row + n] += total(dstate * entry)
        dC[dC_row + n] += total(dy * after)
        dentry = dentry + dstate * broadcast(s.B, B + n * s.B_strides[4])
        dstate = dstate * load(decays, i + lane)
        store(carries, carry + lane, dstate)
        product = dstate * before
        dexponent = dexponent + product * load(s.A, A + lane)
        store(dA, dA_row + lane, load(dA, dA_row + lane) + product * step)
    return dentry, dexponent


@_kernel
def forward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, forward_kernel, arguments)


@_kernel
def backward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, backward_kernel, arguments)

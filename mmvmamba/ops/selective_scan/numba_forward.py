"""The forward kernel of the ``numba`` backend.

A block of channels goes through a few steps of the scan in three loops: the step sizes, what enters
the state, the states. The CPU works on several passes of such a loop at once, which it cannot where
each pass does all there is to do for a token.
"""

from mmvmamba.ops.cpu.kernels import inline, kernel
from mmvmamba.ops.cpu.lanes import (
    LANES,
    PART,
    broadcast_part,
    exp2,
    load,
    load_part,
    softplus,
    splat_part,
    store,
)  # fmt: skip
from mmvmamba.ops.cpu.team import in_parallel, next_task, next_thread

from .numba_scan import (
    ZERO,
    add_row,
    at,
    channel_of,
    directions_of,
    load_step,
    load_u,
    num_tasks,
    store_row,
    task_of,
    width_of,
    write_decays,
)  # fmt: skip

__all__ = ['forward_in_parallel', 'forward_kernel', 'forward_workspace']

# Steps that a block is taken through at a time. Checkpoints lie at multiples of it.
STEPS = 16


def forward_workspace(s):
    """How many floats a thread of ``forward_kernel`` works on."""
    steps = STEPS * (2 + (s.state if s.shared_decay else 0))
    return (2 + steps + s.directions * s.state) * LANES


@kernel
def forward_kernel(counter, workspace, s, accumulate, out, last_state, checkpoints):
    """Fills ``out`` (splits, batch, length, dim) and, where they are not empty, ``last_state``
    (batch, directions, state, dim) and ``checkpoints`` (batch, directions, chunks, state, dim)."""
    size = s.state * LANES
    memory = workspace[next_thread(counter)]
    row, memory = memory[: 2 * LANES], memory[2 * LANES :]
    steps, memory = memory[: STEPS * LANES], memory[STEPS * LANES :]
    entries, memory = memory[: STEPS * LANES], memory[STEPS * LANES :]
    kept = STEPS * size if s.shared_decay else 0
    decays, states = memory[:kept], memory[kept:]
    task = next_task(counter)
    while task < num_tasks(s):
        split, b, group, block = task_of(s, task)
        k_first, k_last = directions_of(s, split)
        number = group * s.blocks + block
        out_row = (split * s.batch + b) * s.length
        states[:] = 0.0
        row[:] = 0.0
        # With shared decays all directions advance together, else one after the other.
        together = k_last - k_first if s.shared_decay else 1
        for k_start in range(k_first, k_last, together):
            for start in range(0, s.length, STEPS):
                stop = min(start + STEPS, s.length)
                _write_steps(s, b, k_start, start, stop, group, block, row, steps)
                if s.shared_decay:
                    width = width_of(s, block)
                    for i in range(stop - start):
                        write_decays(s, steps, i * LANES, width, number * size, decays, i * size)
                for k in range(k_start, k_start + together):
                    _write_entries(s, b, k, start, stop, group, block, row, steps, entries)
                    if s.chunk_length and start % s.chunk_length == 0:
                        chunks = (s.length - 1) // s.chunk_length + 1
                        place = (b * s.directions + k) * chunks + start // s.chunk_length
                        _write_states(s, checkpoints, place, group, block, states, k * size)
                    _advance_block(
                        s, b, k, start, stop, group, block, row, steps, decays, entries,
                        states, k * size, accumulate, out, out_row,
                    )  # fmt: skip
        if last_state.size:
            for k in range(k_first, k_last):
                place = b * s.directions + k
                _write_states(s, last_state, place, group, block, states, k * size)
        task = next_task(counter)


@inline
def _write_steps(s, b, k, start, stop, group, block, row, steps):
    """The step sizes, softplus applied."""
    number = group * s.blocks + block
    channel, width = channel_of(s, group, block), width_of(s, block)
    for t in range(start, stop):
        place = s.orders[k, t] if s.order_all else t
        step = load_step(s, at(s.delta_strides, b, k, place), k, number, channel, width, row)
        if s.delta_softplus:
            step = softplus(step)
        store(steps, (t - start) * LANES, step)


@inline
def _write_entries(s, b, k, start, stop, group, block, row, steps, entries):
    """delta * u."""
    channel, width = channel_of(s, group, block), width_of(s, block)
    for t in range(start, stop):
        u = load_u(s, at(s.u_strides, b, k, s.orders[k, t]), channel, width, row)
        i = (t - start) * LANES
        store(entries, i, load(steps, i) * u)


@inline
def _advance_block(
    s, b, k, start, stop, group, block, row, steps, decays, entries, states, state,
    accumulate, out, out_row,
):  # fmt: skip
    """Takes the states of a block in one direction through the steps, and writes the outputs."""
    size = s.state * LANES
    dim = s.groups * s.group_dim
    number = group * s.blocks + block
    channel, width = channel_of(s, group, block), width_of(s, block)
    for t in range(start, stop):
        token = s.orders[k, t]
        place = token if s.order_all else t
        B = at(s.B_strides, b, k, place) + group * s.B_strides[3]
        C = at(s.C_strides, b, k, place) + group * s.C_strides[3]
        i = t - start
        A = (k * s.A_step + number) * size
        for part in range(0, width, PART):
            entry = load_part(entries, i * LANES + part)
            if s.shared_decay:
                y = _advance_with(s, decays, i * size + part, B, C, entry, states, state + part)
            else:
                step = load_part(steps, i * LANES + part)
                y = _advance(s, step, A + part, B, C, entry, states, state + part)
            store(entries, i * LANES + part, y)
        y = load(entries, i * LANES)
        if s.D.size:
            u = load_u(s, at(s.u_strides, b, k, token), channel, width, row)
            y = y + u * load(s.D, (k * s.D_step + number) * LANES)
        position = (out_row + token) * dim + channel
        if accumulate:
            add_row(out, position, width, row, y)
        else:
            store_row(out, position, width, row, y)


@inline
def _advance(s, step, A, B, C, entry, states, state):
    """Takes the states of a part through one step; returns the output."""
    y = splat_part(ZERO)
    for n in range(s.state):
        decay = exp2(step * load_part(s.A, A + n * LANES))
        h = load_part(states, state + n * LANES) * decay
        h = h + entry * broadcast_part(s.B, B + n * s.B_strides[4])
        store(states, state + n * LANES, h)
        y = y + h * broadcast_part(s.C, C + n * s.C_strides[4])
    return y


@inline
def _advance_with(s, decays, decay, B, C, entry, states, state):
    """As ``_advance``, with decays that are known."""
    y = splat_part(ZERO)
    for n in range(s.state):
        h = load_part(states, state + n * LANES) * load_part(decays, decay + n * LANES)
        h = h + entry * broadcast_part(s.B, B + n * s.B_strides[4])
        store(states, state + n * LANES, h)
        y = y + h * broadcast_part(s.C, C + n * s.C_strides[4])
    return y


@inline
def _write_states(s, array, place, group, block, states, state):
    """Copies the states of a block to row ``place`` of an array (..., state, dim)."""
    dim = s.groups * s.group_dim
    to = place * s.state * dim + channel_of(s, group, block)
    for n in range(s.state):
        for i in range(width_of(s, block)):
            array[to + n * dim + i] = states[state + n * LANES + i]


@kernel
def forward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, forward_kernel, arguments)

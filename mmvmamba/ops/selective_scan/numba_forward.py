"""The forward kernel of the ``numba`` backend.

A few steps of the scan are taken in two loops: the step sizes, then the states. The CPU works on
several passes of such a loop at once, which it cannot where each pass does all there is to do for a
token: softplus is a chain of some thirty operations.
"""

from collections import namedtuple

from mmvmamba.ops.cpu.kernels import inline, kernel
from mmvmamba.ops.cpu.lanes import LANES, broadcast, exp2, load, softplus, splat, store
from mmvmamba.ops.cpu.team import in_parallel, next_task, next_thread

from .numba_scan import (
    ZERO,
    add_row,
    at,
    load_step,
    load_u,
    num_tasks,
    own,
    pack_weights,
    part_of,
    task_of,
    width_of,
    write_decays,
    write_states,
)  # fmt: skip

__all__ = ['Results', 'forward_in_parallel', 'forward_kernel', 'forward_workspace']

# Steps that are taken at a time. Checkpoints lie at multiples of it.
STEPS = 16

# Addresses of what the kernel fills: `out` (splits, batch, length, dim), and, where they are not 0,
# `last_state` (batch, directions, state, dim) and `checkpoints` (batch, directions, chunks, state,
# dim).
Results = namedtuple('Results', ['out', 'last_state', 'checkpoints'])

# What a thread works on.
Memory = namedtuple('Memory', ['row', 'A', 'D', 'bias', 'states', 'steps', 'decays'])


def forward_workspace(s):
    """How many floats a thread of ``forward_kernel`` works on."""
    steps = STEPS * (1 + (s.state if s.shared_decay else 0))
    return (2 + s.directions * (2 * s.state + 2) + steps) * LANES


@inline
def _memory(s, floats):
    size = s.directions * s.state * LANES
    row, floats = floats[: 2 * LANES], floats[2 * LANES :]
    A, floats = floats[:size], floats[size:]
    D, floats = floats[: s.directions * LANES], floats[s.directions * LANES :]
    bias, floats = floats[: s.directions * LANES], floats[s.directions * LANES :]
    states, floats = floats[:size], floats[size:]
    return Memory(row, A, D, bias, states, floats[: STEPS * LANES], floats[STEPS * LANES :])


@kernel
def forward_kernel(counter, workspace, s, results):
    m = _memory(s, workspace[next_thread(counter)])
    task = next_task(counter)
    while task < num_tasks(s):
        split, b, group, block = task_of(s, task)
        for first in range(0, width_of(s, block), LANES):
            _scan(s, part_of(s, split, b, group, block, first), m, results)
        task = next_task(counter)


@inline
def _scan(s, p, m, results):
    """Takes a part through the sequence."""
    size = s.state * LANES
    m.row[:] = ZERO
    m.states[:] = ZERO
    pack_weights(s, p, m.A, m.D, m.bias)
    # With shared decays all directions advance together, else one after the other.
    together = p.k_last - p.k_first if s.shared_decay else 1
    for k_start in range(p.k_first, p.k_last, together):
        for start in range(0, s.length, STEPS):
            stop = min(start + STEPS, s.length)
            _write_steps(s, p, m, k_start, start, stop)
            if s.shared_decay:
                for i in range(stop - start):
                    write_decays(s, load(m.steps, i * LANES), m.A, 0, m.decays, i * size)
            for k in range(k_start, k_start + together):
                if s.chunk_length and start % s.chunk_length == 0:
                    chunks = (s.length - 1) // s.chunk_length + 1
                    place = (p.b * s.directions + k) * chunks + start // s.chunk_length
                    write_states(s, p, results.checkpoints, place, m.row, m.states, k * size)
                _advance(s, p, m, k, start, stop, results.out)
    if results.last_state:
        for k in range(p.k_first, p.k_last):
            place = p.b * s.directions + k
            write_states(s, p, results.last_state, place, m.row, m.states, k * size)


@inline
def _write_steps(s, p, m, k, start, stop):
    """The step sizes, softplus applied."""
    for t in range(start, stop):
        place = s.orders[k, t] if s.order_all else t
        step = load_step(s, p, k, place, m.row, m.bias)
        if s.delta_softplus:
            step = softplus(step)
        store(m.steps, (t - start) * LANES, step)


@inline
def _advance(s, p, m, k, start, stop, out):
    """Takes the states in one direction through the steps, and writes the outputs."""
    dim, size = s.groups * s.group_dim, s.state * LANES
    own_A = own(s.A_strides, k) * size
    for t in range(start, stop):
        token = s.orders[k, t]
        place = token if s.order_all else t
        B = at(s.B_strides, p.b, k, place) + p.group * s.B_strides[3]
        C = at(s.C_strides, p.b, k, place) + p.group * s.C_strides[3]
        u = load_u(s, p, k, token, m.row)
        step = load(m.steps, (t - start) * LANES)
        entry = step * u
        y = splat(ZERO)
        for n in range(s.state):
            lane = n * LANES
            if s.shared_decay:
                decay = load(m.decays, (t - start) * size + lane)
            else:
                decay = exp2(step * load(m.A, own_A + lane))
            h = load(m.states, k * size + lane) * decay
            h = h + entry * broadcast(s.B, B + n * s.B_strides[4])
            store(m.states, k * size + lane, h)
            y = y + h * broadcast(s.C, C + n * s.C_strides[4])
        if s.D:
            y = y + u * load(m.D, own(s.D_strides, k) * LANES)
        position = ((p.split * s.batch + p.b) * s.length + token) * dim + p.channel
        add_row(s, out, position, p.width, m.row, y)


@kernel
def forward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, forward_kernel, arguments)

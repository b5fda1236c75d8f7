"""The backward kernel of the ``numba`` backend.

From the last chunk of steps to the first: the states of the chunk again, from the one that the
forward pass kept, then the gradients back through its steps.
"""

from collections import namedtuple

import numpy as np

from mmvmamba.ops.cpu.kernels import inline, kernel
from mmvmamba.ops.cpu.lanes import (
    FEW,
    LANES,
    broadcast,
    fold,
    get,
    load,
    load_few,
    load_four,
    put,
    sigmoid,
    softplus,
    splat,
    store,
    totals_of_four,
)  # fmt: skip
from mmvmamba.ops.cpu.team import in_parallel, next_task, next_thread

from .numba_scan import (
    ZERO,
    add_row,
    at,
    load_row,
    load_step,
    load_u,
    num_tasks,
    own,
    pack_weights,
    part_of,
    put_row,
    read_states,
    task_of,
    width_of,
    write_decays,
    write_states,
)  # fmt: skip

__all__ = ['Gradients', 'backward_in_parallel', 'backward_kernel', 'backward_workspace']

LN2 = np.float32(np.log(2))

# Addresses: of the checkpoints and the gradients that come (that of the last state may be 0), and
# of those that are filled: `du` (splits, batch, directions or 1, length, dim), with `du_step` 1 or
# 0, `ddelta` alike; `dA` (batch, directions, state, dim), `dD` and `ddelta_bias` (batch,
# directions, dim); `dB` and `dC` (splits, blocks of a group, batch, directions or 1, length,
# groups, state), which must be zero and are to be summed over blocks.
Gradients = namedtuple(
    'Gradients',
    [
        'checkpoints', 'out', 'out_strides', 'last_state', 'du', 'du_step', 'ddelta',
        'ddelta_step', 'dA', 'dB', 'dB_step', 'dC', 'dC_step', 'dD', 'ddelta_bias',
    ],
)  # fmt: skip

# What a thread works on. The sums are the gradients of a part's weights, `folds` those of B and C
# at one step.
Memory = namedtuple(
    'Memory',
    [
        'row', 'A', 'D', 'bias', 'A_sums', 'D_sums', 'bias_sums', 'carries', 'B_folds', 'C_folds',
        'steps', 'slopes', 'decays', 'states',
    ],
)  # fmt: skip


def backward_workspace(s):
    """How many floats a thread of ``backward_kernel`` works on."""
    chunk = min(s.chunk_length, s.length)
    weights = s.directions * (3 * s.state + 4)
    steps = chunk * (2 + s.state) + (chunk + 1) * s.state
    return (2 + weights + steps) * LANES + 2 * -(-s.state // 4) * 4 * FEW


@inline
def _memory(s, floats):
    chunk, size = min(s.chunk_length, s.length), s.state * LANES
    one, all_states = s.directions * LANES, s.directions * size
    folds = (s.state + 3) // 4 * 4 * FEW
    row, floats = floats[: 2 * LANES], floats[2 * LANES :]
    A, floats = floats[:all_states], floats[all_states:]
    D, floats = floats[:one], floats[one:]
    bias, floats = floats[:one], floats[one:]
    A_sums, floats = floats[:all_states], floats[all_states:]
    D_sums, floats = floats[:one], floats[one:]
    bias_sums, floats = floats[:one], floats[one:]
    carries, floats = floats[:all_states], floats[all_states:]
    B_folds, floats = floats[:folds], floats[folds:]
    C_folds, floats = floats[:folds], floats[folds:]
    steps, floats = floats[: chunk * LANES], floats[chunk * LANES :]
    slopes, floats = floats[: chunk * LANES], floats[chunk * LANES :]
    return Memory(
        row, A, D, bias, A_sums, D_sums, bias_sums, carries, B_folds, C_folds, steps, slopes,
        floats[: chunk * size], floats[chunk * size :],
    )  # fmt: skip


@kernel
def backward_kernel(counter, workspace, s, g):
    m = _memory(s, workspace[next_thread(counter)])
    task = next_task(counter)
    while task < num_tasks(s):
        split, b, group, block = task_of(s, task)
        for first in range(0, width_of(s, block), LANES):
            _retreat(s, part_of(s, split, b, group, block, first), m, g)
        task = next_task(counter)


@inline
def _retreat(s, p, m, g):
    """Takes the gradients of a part back through the sequence."""
    size = s.state * LANES
    chunks = (s.length - 1) // s.chunk_length + 1
    for zeros in (m.row, m.A_sums, m.D_sums, m.bias_sums, m.carries, m.B_folds, m.C_folds):
        zeros[:] = ZERO
    pack_weights(s, p, m.A, m.D, m.bias)
    if g.last_state:
        for k in range(p.k_first, p.k_last):
            place = p.b * s.directions + k
            read_states(s, p, g.last_state, place, m.row, m.carries, k * size)
    for chunk in range(chunks - 1, -1, -1):
        start = chunk * s.chunk_length
        stop = min(start + s.chunk_length, s.length)
        for k in range(p.k_first, p.k_last):
            if k == p.k_first or not s.shared_decay:
                _recompute_decays(s, p, m, k, start, stop)
            place = (p.b * s.directions + k) * chunks + chunk
            read_states(s, p, g.checkpoints, place, m.row, m.states, 0)
            _recompute_states(s, p, m, k, start, stop)
            _retreat_chunk(s, p, m, g, k, start, stop)
    dim = s.groups * s.group_dim
    for k in range(p.k_first, p.k_last):
        place = p.b * s.directions + k
        write_states(s, p, g.dA, place, m.row, m.A_sums, k * size)
        position = place * dim + p.channel
        put_row(g.dD, position, p.width, m.row, load(m.D_sums, k * LANES))
        put_row(g.ddelta_bias, position, p.width, m.row, load(m.bias_sums, k * LANES))


@inline
def _recompute_decays(s, p, m, k, start, stop):
    """Step sizes, the derivatives of softplus and exp(delta * A) of a chunk."""
    size = s.state * LANES
    for t in range(start, stop):
        place = s.orders[k, t] if s.order_all else t
        step = load_step(s, p, k, place, m.row, m.bias)
        if s.delta_softplus:
            store(m.slopes, (t - start) * LANES, sigmoid(step))
            step = softplus(step)
        store(m.steps, (t - start) * LANES, step)
    for i in range(stop - start):
        step = load(m.steps, i * LANES)
        write_decays(s, step, m.A, own(s.A_strides, k) * size, m.decays, i * size)


@inline
def _recompute_states(s, p, m, k, start, stop):
    """The states after each step of a chunk, behind the one before its first step."""
    size = s.state * LANES
    for t in range(start, stop):
        token = s.orders[k, t]
        place = token if s.order_all else t
        i = (t - start) * size
        B = at(s.B_strides, p.b, k, place) + p.group * s.B_strides[3]
        entry = load(m.steps, (t - start) * LANES) * load_u(s, p, k, token, m.row)
        for n in range(s.state):
            lane = i + n * LANES
            h = load(m.states, lane) * load(m.decays, lane)
            h = h + entry * broadcast(s.B, B + n * s.B_strides[4])
            store(m.states, lane + size, h)


@inline
def _retreat_chunk(s, p, m, g, k, start, stop):
    """Takes the gradients in one direction back through the steps of a chunk."""
    dim, size = s.groups * s.group_dim, s.state * LANES
    outer = p.split * s.batch + p.b
    matrices = (p.split * s.blocks + p.block) * s.batch + p.b
    own_A, carry = own(s.A_strides, k) * size, k * size
    for t in range(stop - 1, start - 1, -1):
        token = s.orders[k, t]
        place = token if s.order_all else t
        B = at(s.B_strides, p.b, k, place) + p.group * s.B_strides[3]
        C = at(s.C_strides, p.b, k, place) + p.group * s.C_strides[3]
        dy = _load_grad(g, p, token, m.row)
        u = load_u(s, p, k, token, m.row)
        step = load(m.steps, (t - start) * LANES)
        entry = step * u
        dentry, dexponent = splat(ZERO), splat(ZERO)
        for n in range(s.state):
            lane = n * LANES
            i = (t - start) * size + lane
            dstate = load(m.carries, carry + lane) + dy * broadcast(s.C, C + n * s.C_strides[4])
            store(m.B_folds, n * FEW, fold(dstate * entry))
            store(m.C_folds, n * FEW, fold(dy * load(m.states, i + size)))
            dentry = dentry + dstate * broadcast(s.B, B + n * s.B_strides[4])
            dstate = dstate * load(m.decays, i)
            store(m.carries, carry + lane, dstate)
            product = dstate * load(m.states, i)
            # Of delta as it enters the exponent, divided by ln(2), which A has in it.
            dexponent = dexponent + product * load(m.A, own_A + lane)
            store(m.A_sums, carry + lane, load(m.A_sums, carry + lane) + product * step)
        _add_totals(s, p, m.B_folds, g.dB, _sequence_row(s, matrices, k, g.dB_step, place))
        _add_totals(s, p, m.C_folds, g.dC, _sequence_row(s, matrices, k, g.dC_step, place))
        du = step * dentry
        if s.D:
            du = du + dy * load(m.D, own(s.D_strides, k) * LANES)
            store(m.D_sums, k * LANES, load(m.D_sums, k * LANES) + dy * u)
        ddelta = dexponent * splat(LN2) + u * dentry
        if s.delta_softplus:
            ddelta = ddelta * load(m.slopes, (t - start) * LANES)
        store(m.bias_sums, k * LANES, load(m.bias_sums, k * LANES) + ddelta)
        position = _sequence_row(s, outer, k, g.du_step, token) * dim + p.channel
        add_row(s, g.du, position, p.width, m.row, du)
        position = _sequence_row(s, outer, k, g.ddelta_step, place) * dim + p.channel
        add_row(s, g.ddelta, position, p.width, m.row, ddelta)


@inline
def _load_grad(g, p, token, row):
    """The gradient of the output, which all directions share."""
    stride = g.out_strides[3]
    position = at(g.out_strides, p.b, 0, token) + p.channel * stride
    return load_row(g.out, position, stride, p.width, row)


@inline
def _add_totals(s, p, folds, grad, row):
    """Adds the sums over the lanes to a row of dB or dC."""
    position = (row * s.groups + p.group) * s.state
    for first in range(0, s.state, 4):
        a, b, c, d = (
            load_few(folds, first * FEW), load_few(folds, (first + 1) * FEW),
            load_few(folds, (first + 2) * FEW), load_few(folds, (first + 3) * FEW),
        )  # fmt: skip
        totals = totals_of_four(a, b, c, d)
        if first + 4 <= s.state:
            store(grad, position + first, load_four(grad, position + first) + totals)
        else:
            store(folds, first * FEW, totals)
            for n in range(first, s.state):
                put(grad, position + n, get(grad, position + n) + folds[first * FEW + n - first])


@inline
def _sequence_row(s, outer, k, step, t):
    return (outer * (1 + (s.directions - 1) * step) + k * step) * s.length + t


@kernel
def backward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, backward_kernel, arguments)

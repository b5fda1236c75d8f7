"""The backward kernel of the ``numba`` backend."""

import numpy as np

from mmvmamba.ops.cpu.kernels import inline, kernel
from mmvmamba.ops.cpu.lanes import (
    LANES,
    PART,
    broadcast_part,
    load,
    load_part,
    sigmoid,
    softplus,
    splat,
    splat_part,
    store,
    total,
)  # fmt: skip
from mmvmamba.ops.cpu.team import in_parallel, next_task, next_thread

from .numba_scan import (
    ZERO,
    add_row,
    at,
    channel_of,
    directions_of,
    load_row,
    load_step,
    load_u,
    num_tasks,
    task_of,
    width_of,
    write_decays,
)  # fmt: skip

__all__ = ['backward_in_parallel', 'backward_kernel', 'backward_workspace']

LN2 = np.float32(np.log(2))


def backward_workspace(s):
    """How many floats a thread of ``backward_kernel`` works on."""
    states = s.directions + 2 * s.chunk_length + 1
    sums = 2 * s.chunk_length * s.state * PART
    return (4 + s.chunk_length + states * s.state) * LANES + sums


@kernel
def backward_kernel(
    counter, workspace, s, checkpoints, grad_out, grad_out_strides, grad_last_state,
    du, du_step, ddelta, ddelta_step, dA, dB, dB_step, dC, dC_step, dD, ddelta_bias,
):  # fmt: skip
    """Adds to gradients that are zero: ``du`` (splits, batch, directions or 1, length, dim), with
    ``du_step`` 1 or 0; ``ddelta`` alike; ``dB`` and ``dC`` (splits, blocks of a group, batch,
    directions or 1, length, groups, state), to be summed over blocks; ``dA`` (batch, directions,
    all blocks, state, LANES), ``dD`` and ``ddelta_bias`` (batch, directions, all blocks, LANES).
    """
    size = s.state * LANES
    memory = workspace[next_thread(counter)]
    row, memory = memory[: 2 * LANES], memory[2 * LANES :]
    sums, memory = memory[: 2 * LANES], memory[2 * LANES :]
    steps, memory = memory[: s.chunk_length * LANES], memory[s.chunk_length * LANES :]
    decays, memory = memory[: s.chunk_length * size], memory[s.chunk_length * size :]
    part_size = s.chunk_length * s.state * PART
    B_sums, memory = memory[:part_size], memory[part_size:]
    C_sums, memory = memory[:part_size], memory[part_size:]
    carries, states = memory[: s.directions * size], memory[s.directions * size :]
    chunks = (s.length - 1) // s.chunk_length + 1
    task = next_task(counter)
    while task < num_tasks(s):
        split, b, group, block = task_of(s, task)
        k_first, k_last = directions_of(s, split)
        row[:] = 0.0
        carries[:] = 0.0
        states[:] = 0.0
        if grad_last_state.size:
            for k in range(k_first, k_last):
                place = b * s.directions + k
                _read_states(s, grad_last_state, place, group, block, carries, k * size)
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * s.chunk_length
            stop = min(start + s.chunk_length, s.length)
            for k in range(k_first, k_last):
                if k == k_first or not s.shared_decay:
                    _recompute_decays(s, b, k, start, stop, group, block, row, steps, decays)
                place = (b * s.directions + k) * chunks + chunk
                _read_states(s, checkpoints, place, group, block, states, 0)
                _recompute_states(s, b, k, start, stop, group, block, row, steps, decays, states)
                B_sums[:] = 0.0
                C_sums[:] = 0.0
                _retreat_block(
                    s, split, b, k, start, stop, group, block, row, sums, steps, decays, states,
                    carries, k * size, B_sums, C_sums, grad_out, grad_out_strides,
                    du, du_step, ddelta, ddelta_step, dA, dD, ddelta_bias,
                )  # fmt: skip
                outer = (split * s.blocks + block) * s.batch + b
                _add_sums(s, outer, k, start, stop, group, B_sums, dB, dB_step)
                _add_sums(s, outer, k, start, stop, group, C_sums, dC, dC_step)
        task = next_task(counter)


@inline
def _retreat_block(
    s, split, b, k, start, stop, group, block, row, sums, steps, decays, states, carries, carry,
    B_sums, C_sums, grad_out, grad_out_strides,
    du, du_step, ddelta, ddelta_step, dA, dD, ddelta_bias,
):  # fmt: skip
    """Takes the gradients of a block in one direction back through the steps of a chunk."""
    size = s.state * LANES
    dim = s.groups * s.group_dim
    number = group * s.blocks + block
    channel, width = channel_of(s, group, block), width_of(s, block)
    owner = (b * s.directions + k) * s.groups * s.blocks + number
    outer = split * s.batch + b
    A = (k * s.A_step + number) * size
    for t in range(stop - 1, start - 1, -1):
        token = s.orders[k, t]
        place = token if s.order_all else t
        i = t - start
        stride = grad_out_strides[3]
        position = at(grad_out_strides, b, 0, token) + channel * stride
        dy = load_row(grad_out, position, stride, width, row)
        u = load_u(s, at(s.u_strides, b, k, token), channel, width, row)
        step = load(steps, i * LANES)
        B = at(s.B_strides, b, k, place) + group * s.B_strides[3]
        C = at(s.C_strides, b, k, place) + group * s.C_strides[3]
        store(sums, 0, dy)
        store(sums, LANES, step * u)
        for part in range(0, width, PART):
            _retreat(
                s, load_part(steps, i * LANES + part), B, C, A + part, states, decays,
                i * size + part, carries, carry + part, dA, owner * size + part, sums, part,
                B_sums, C_sums, i * s.state * PART,
            )  # fmt: skip
        dentry, dexponent = load(sums, 0), load(sums, LANES)
        du_token = step * dentry
        if s.D.size:
            du_token = du_token + dy * load(s.D, (k * s.D_step + number) * LANES)
            store(dD, owner * LANES, load(dD, owner * LANES) + dy * u)
        ddelta_token = dexponent * splat(LN2) + u * dentry
        if s.delta_softplus:
            delta = at(s.delta_strides, b, k, place)
            raw = load_step(s, delta, k, number, channel, width, row)
            ddelta_token = ddelta_token * sigmoid(raw)
        store(ddelta_bias, owner * LANES, load(ddelta_bias, owner * LANES) + ddelta_token)
        position = _sequence_row(s, outer, k, du_step, token) * dim + channel
        add_row(du, position, width, row, du_token)
        position = _sequence_row(s, outer, k, ddelta_step, place) * dim + channel
        add_row(ddelta, position, width, row, ddelta_token)


@inline
def _retreat(
    s, step, B, C, A, states, decays, i, carries, carry, dA, dA_row, sums, part, B_sums, C_sums, to
):  # fmt: skip
    """Takes the gradients of a part of a block back through one step.

    ``sums`` hold the gradient of the output and delta * u; they get the gradients of delta * u and,
    divided by ln(2), of delta as it enters the exponent.
    """
    size = s.state * LANES
    dy, entry = load_part(sums, part), load_part(sums, LANES + part)
    dentry, dexponent = splat_part(ZERO), splat_part(ZERO)
    for n in range(s.state):
        lane, total_lane = n * LANES, to + n * PART
        before, after = load_part(states, i + lane), load_part(states, i + size + lane)
        dstate = load_part(carries, carry + lane) + dy * broadcast_part(s.C, C + n * s.C_strides[4])
        store(B_sums, total_lane, load_part(B_sums, total_lane) + dstate * entry)
        store(C_sums, total_lane, load_part(C_sums, total_lane) + dy * after)
        dentry = dentry + dstate * broadcast_part(s.B, B + n * s.B_strides[4])
        dstate = dstate * load_part(decays, i + lane)
        store(carries, carry + lane, dstate)
        product = dstate * before
        dexponent = dexponent + product * load_part(s.A, A + lane)
        store(dA, dA_row + lane, load_part(dA, dA_row + lane) + product * step)
    store(sums, part, dentry)
    store(sums, LANES + part, dexponent)


@inline
def _add_sums(s, outer, k, start, stop, group, sums, grad, grad_step):
    """Adds the sums over the lanes to the rows of dB or dC."""
    for t in range(start, stop):
        place = s.orders[k, t] if s.order_all else t
        row = (_sequence_row(s, outer, k, grad_step, place) * s.groups + group) * s.state
        for n in range(s.state):
            grad[row + n] += total(load_part(sums, ((t - start) * s.state + n) * PART))


@inline
def _sequence_row(s, outer, k, step, t):
    return (outer * (1 + (s.directions - 1) * step) + k * step) * s.length + t


@inline
def _read_states(s, array, place, group, block, states, state):
    """Copies the states of a block from row ``place`` of an array (..., state, dim)."""
    dim = s.groups * s.group_dim
    source = place * s.state * dim + channel_of(s, group, block)
    for n in range(s.state):
        for i in range(width_of(s, block)):
            states[state + n * LANES + i] = array[source + n * dim + i]


@inline
def _recompute_decays(s, b, k, start, stop, group, block, row, steps, decays):
    """Step sizes and exp(delta * A) of a chunk."""
    size = s.state * LANES
    number = group * s.blocks + block
    channel, width = channel_of(s, group, block), width_of(s, block)
    for t in range(start, stop):
        place = s.orders[k, t] if s.order_all else t
        step = load_step(s, at(s.delta_strides, b, k, place), k, number, channel, width, row)
        if s.delta_softplus:
            step = softplus(step)
        store(steps, (t - start) * LANES, step)
    A = (k * s.A_step + number) * size
    for i in range(stop - start):
        write_decays(s, steps, i * LANES, width, A, decays, i * size)


@inline
def _recompute_states(s, b, k, start, stop, group, block, row, steps, decays, states):
    """The states after each step of a chunk, behind the one before its first step."""
    size = s.state * LANES
    channel, width = channel_of(s, group, block), width_of(s, block)
    for t in range(start, stop):
        token = s.orders[k, t]
        place = token if s.order_all else t
        i = (t - start) * size
        B = at(s.B_strides, b, k, place) + group * s.B_strides[3]
        u = load_u(s, at(s.u_strides, b, k, token), channel, width, row)
        store(row, LANES, load(steps, (t - start) * LANES) * u)
        for part in range(0, width, PART):
            entry = load_part(row, LANES + part)
            for n in range(s.state):
                lane = i + n * LANES + part
                h = load_part(states, lane) * load_part(decays, lane)
                h = h + entry * broadcast_part(s.B, B + n * s.B_strides[4])
                store(states, lane + size, h)


@kernel
def backward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, backward_kernel, arguments)

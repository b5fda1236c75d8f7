"""What the kernels of the ``numba`` backend share: what they are given, its parts, its rows.

A task is one batch element, one block of channels of one group and all (or, where there are few
tasks, one of the) directions. Threads take the tasks one by one, so that each memory cell is
written by one of them. A task takes ``LANES`` channels at a time through the whole sequence.

A tensor comes as the address of its float32 and its strides (batch, direction, length, ...); one
that all directions share has stride 0 along them.
"""

from collections import namedtuple

import numpy as np

from mmvmamba.ops.cpu.kernels import inline
from mmvmamba.ops.cpu.lanes import FEW, LANES, exp2, get, load, load_few, put, store

__all__ = [
    'BLOCK', 'ZERO', 'Part', 'Scan', 'add_row', 'at', 'load_row', 'load_step',
    'load_u', 'num_tasks', 'own', 'pack_weights', 'part_of', 'put_row', 'read_states', 'task_of',
    'width_of', 'write_decays', 'write_states',
]  # fmt: skip

# What both kernels read. With `accumulate`, results are added to what is there, because a token may
# be visited any number of times. With `shared_decay`, every direction has the same exp(delta * A)
# at each step. `splits` is the number of parts, 1 or all, in which the directions of a block are
# dealt to tasks; `blocks` counts the blocks of one group.
Scan = namedtuple(
    'Scan',
    [
        'u', 'u_strides', 'delta', 'delta_strides', 'B', 'B_strides', 'C', 'C_strides',
        'A', 'A_strides', 'D', 'D_strides', 'delta_bias', 'bias_strides', 'orders',
        'delta_softplus', 'order_all', 'accumulate', 'shared_decay', 'splits', 'chunk_length',
        'batch', 'directions', 'length', 'groups', 'blocks', 'group_dim', 'state',
    ],
)  # fmt: skip

# What is taken through the sequence at once: some channels of a batch element in some directions.
Part = namedtuple('Part', ['split', 'b', 'group', 'block', 'channel', 'width', 'k_first', 'k_last'])

# Channels of a task, where there are as many.
BLOCK = 64
ZERO = np.float32(0)
LOG2_E = np.float32(1.4426950408889634)


@inline
def num_tasks(s):
    """How many pieces of work there are: each a block of channels of one batch element."""
    return s.splits * s.batch * s.groups * s.blocks


@inline
def task_of(s, task):
    """Part of the directions, batch element, group and block of its channels."""
    split, rest = divmod(task, s.batch * s.groups * s.blocks)
    b, rest = divmod(rest, s.groups * s.blocks)
    group, block = divmod(rest, s.blocks)
    return split, b, group, block


@inline
def width_of(s, block):
    """How many channels a block has."""
    return min(BLOCK, s.group_dim - block * BLOCK)


@inline
def part_of(s, split, b, group, block, first):
    """The channels of a block from that number on."""
    k_first, k_last = split * s.directions // s.splits, (split + 1) * s.directions // s.splits
    channel = group * s.group_dim + block * BLOCK + first
    width = min(LANES, width_of(s, block) - first)
    return Part(split, b, group, block, channel, width, k_first, k_last)


@inline
def at(strides, b, k, t):
    return b * strides[0] + k * strides[1] + t * strides[2]


@inline
def own(strides, k):
    """The number of a direction's own weights: 0 for all if they share them."""
    return k if strides[0] else 0


@inline
def load_row(memory, position, stride, width, row):
    """A token's channels; lanes beyond ``width`` stay 0, as ``row`` holds them."""
    done = 0
    if stride == 1:
        if width == LANES:
            return load(memory, position)
        while done + FEW <= width:
            store(row, done, load_few(memory, position + done))
            done += FEW
    for i in range(done, width):
        row[i] = get(memory, position + i * stride)
    return load(row, 0)


@inline
def put_row(memory, position, width, row, value):
    """Writes a token's channels; the lanes of ``row`` behind the first are free."""
    if width == LANES:
        store(memory, position, value)
    else:
        store(row, LANES, value)
        done = 0
        while done + FEW <= width:
            store(memory, position + done, load_few(row, LANES + done))
            done += FEW
        for i in range(done, width):
            put(memory, position + i, row[LANES + i])


@inline
def add_row(s, memory, position, width, row, value):
    """As ``put_row``, on top of what was written before if a token is visited more than once."""
    if s.accumulate:
        value = value + load_row(memory, position, 1, width, row)
    put_row(memory, position, width, row, value)


@inline
def load_u(s, p, k, token, row):
    position = at(s.u_strides, p.b, k, token) + p.channel * s.u_strides[3]
    return load_row(s.u, position, s.u_strides[3], p.width, row)


@inline
def load_step(s, p, k, place, row, bias):
    """delta + delta_bias, before softplus."""
    position = at(s.delta_strides, p.b, k, place) + p.channel * s.delta_strides[3]
    raw = load_row(s.delta, position, s.delta_strides[3], p.width, row)
    return raw + load(bias, own(s.bias_strides, k) * LANES)


@inline
def pack_weights(s, p, A, D, bias):
    """Copies the weights of a part: ``A`` (directions or 1, state, LANES) times log2(e), ``D`` and
    ``bias`` (directions or 1, LANES); lanes beyond the part's width are 0."""
    A[:] = ZERO
    D[:] = ZERO
    bias[:] = ZERO
    for k in range(p.k_first, p.k_last if s.A_strides[0] else p.k_first + 1):
        first = k * s.A_strides[0] + p.channel * s.A_strides[1]
        for n in range(s.state):
            lane, source = (own(s.A_strides, k) * s.state + n) * LANES, first + n * s.A_strides[2]
            for i in range(p.width):
                A[lane + i] = LOG2_E * get(s.A, source + i * s.A_strides[1])
    if s.D:
        _pack(p, s.D, s.D_strides, D)
    if s.delta_bias:
        _pack(p, s.delta_bias, s.bias_strides, bias)


@inline
def _pack(p, memory, strides, packed):
    for k in range(p.k_first, p.k_last):
        for i in range(p.width):
            place = k * strides[0] + (p.channel + i) * strides[1]
            packed[own(strides, k) * LANES + i] = get(memory, place)


@inline
def write_decays(s, step, A, first, decays, decay):
    """exp(delta * A) of one step."""
    for n in range(s.state):
        store(decays, decay + n * LANES, exp2(step * load(A, first + n * LANES)))


@inline
def read_states(s, p, memory, place, row, states, state):
    """Copies states from row ``place`` of an array (..., state, dim)."""
    dim = s.groups * s.group_dim
    position = place * s.state * dim + p.channel
    for n in range(s.state):
        store(states, state + n * LANES, load_row(memory, position + n * dim, 1, p.width, row))


@inline
def write_states(s, p, memory, place, row, states, state):
    """Copies states to row ``place`` of an array (..., state, dim)."""
    dim = s.groups * s.group_dim
    position = place * s.state * dim + p.channel
    for n in range(s.state):
        put_row(memory, position + n * dim, p.width, row, load(states, state + n * LANES))

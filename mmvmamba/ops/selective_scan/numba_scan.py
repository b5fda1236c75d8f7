"""What the kernels of the ``numba`` backend share: what they are given, its parts, its rows.

A task is one batch element, one block of channels of one group and all (or, where there are few
tasks, one of the) directions. Threads take the tasks one by one, so that each memory cell is
written by one of them. A block has ``LANES`` channels; loops over states take ``PART`` at a time.

A tensor comes as the flat memory that it spans and its strides (batch, direction, length, ...); one
that all directions share has stride 0 along them. ``A``, ``D`` and ``delta_bias`` come packed in
blocks: ``A`` as (directions or 1, blocks, state, LANES) and multiplied by log2(e).
"""

from collections import namedtuple

import numpy as np

from mmvmamba.ops.cpu.kernels import inline
from mmvmamba.ops.cpu.lanes import LANES, PART, exp2, load, load_part, store

__all__ = [
    'ZERO', 'Scan', 'add_row', 'at', 'channel_of', 'directions_of', 'load_row',
    'load_step', 'load_u', 'num_tasks', 'store_row', 'task_of', 'width_of',
    'write_decays',
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

ZERO = np.float32(0)


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
def directions_of(s, split):
    """The first of the directions of a task, and the one behind the last."""
    return split * s.directions // s.splits, (split + 1) * s.directions // s.splits


@inline
def channel_of(s, group, block):
    """The first channel of a block."""
    return group * s.group_dim + block * LANES


@inline
def width_of(s, block):
    """How many lanes of a block hold channels."""
    return min(LANES, s.group_dim - block * LANES)


@inline
def at(strides, b, k, t):
    return b * strides[0] + k * strides[1] + t * strides[2]


@inline
def load_row(array, position, stride, width, row):
    """A token's channels of a block; lanes beyond ``width`` stay 0, as ``row`` holds them."""
    if stride == 1 and width == LANES:
        return load(array, position)
    for i in range(width):
        row[i] = array[position + i * stride]
    return load(row, 0)


@inline
def store_row(array, position, width, row, value):
    if width == LANES:
        store(array, position, value)
    else:
        store(row, LANES, value)
        for i in range(width):
            array[position + i] = row[LANES + i]


@inline
def add_row(array, position, width, row, value):
    store_row(array, position, width, row, value + load_row(array, position, 1, width, row))


@inline
def load_u(s, u, channel, width, row):
    """The inputs of a block; ``u`` is the position of the token's first channel."""
    return load_row(s.u, u + channel * s.u_strides[3], s.u_strides[3], width, row)


@inline
def load_step(s, delta, k, number, channel, width, row):
    """delta + delta_bias of a block, before softplus; ``delta`` as ``u`` in ``load_u``.

    ``number`` counts the blocks of all groups.
    """
    stride = s.delta_strides[3]
    raw = load_row(s.delta, delta + channel * stride, stride, width, row)
    return raw + load(s.delta_bias, (k * s.bias_step + number) * LANES)


@inline
def write_decays(s, steps, step, width, A, decays, decay):
    """exp(delta * A) of one step, whose step sizes begin at ``step``."""
    for part in range(0, width, PART):
        delta = load_part(steps, step + part)
        for n in range(s.state):
            i = n * LANES + part
            store(decays, decay + i, exp2(delta * load_part(s.A, A + i)))

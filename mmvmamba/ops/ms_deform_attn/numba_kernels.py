"""The kernels of deformable attention. Only ``numba.py`` imports this module, at the first call.

All arrays are flat and contiguous, and of one dtype, in which all is computed: ``value``
``(batch, tokens, heads, channels)``, ``locations`` ``(batch, queries, heads, levels, points, 2)``,
``weights`` without its last axis, ``out`` ``(batch, queries, heads, channels)``. ``shape`` is
(batch, tokens, heads, channels, queries, points); ``levels`` (levels, 3) has height, width and
first token of each level, ``sides`` (levels, 2) height and width again in the dtype of the arrays.
"""

import numpy as np

from mmvmamba.ops.cpu.kernels import add_scaled, inline, kernel, summing
from mmvmamba.ops.cpu.team import in_parallel, next_task

__all__ = ['backward_in_parallel', 'backward_kernel', 'forward_in_parallel', 'forward_kernel']

# Of a task of the forward pass.
QUERIES = 16


@kernel
def forward_kernel(counter, workspace, value, shape, levels, sides, locations, weights, out):
    """Fills ``out``. A task is some queries of one image."""
    batch, tokens, heads, channels, queries, points = shape
    one = weights.dtype.type(1)
    blocks = (queries + QUERIES - 1) // QUERIES
    task = next_task(counter)
    while task < batch * blocks:
        b, block = divmod(task, blocks)
        first = b * queries + block * QUERIES
        last = min(first + QUERIES, (b + 1) * queries)
        for item in range(first * heads, last * heads):
            row = item * channels
            for c in range(channels):
                out[row + c] = 0
            cell_zero = (b * tokens * heads + item % heads) * channels
            for level in range(len(levels)):
                for point in range(points):
                    sample = (item * len(levels) + level) * points + point
                    y, x, down, right = _place(locations, sample, sides, level)
                    for corner in range(4):
                        token = _token(levels, level, y + corner // 2, x + corner % 2)
                        if token >= 0:
                            vertical, horizontal = _nearness(corner, down, right, one)
                            share = weights[sample] * vertical * horizontal
                            cell = cell_zero + token * heads * channels
                            add_scaled(out, row, value, cell, channels, share)
        task = next_task(counter)


@kernel
def backward_kernel(
    counter, workspace, value, shape, levels, sides, locations, weights, grad_out,
    grad_value, grad_locations, grad_weights,
):  # fmt: skip
    """Adds up the three gradients, which are zero. A task is one head of one image.

    No other task writes to its part of ``grad_value``, whose sums so have a fixed order.
    """
    batch, tokens, heads, channels, queries, points = shape
    one = weights.dtype.type(1)
    task = next_task(counter)
    while task < batch * heads:
        b, head = divmod(task, heads)
        cell_zero = (b * tokens * heads + head) * channels
        for query in range(b * queries, (b + 1) * queries):
            item = query * heads + head
            row = item * channels
            for level in range(len(levels)):
                for point in range(points):
                    sample = (item * len(levels) + level) * points + point
                    y, x, down, right = _place(locations, sample, sides, level)
                    weight = weights[sample]
                    for corner in range(4):
                        token = _token(levels, level, y + corner // 2, x + corner % 2)
                        if token < 0:
                            continue
                        cell = cell_zero + token * heads * channels
                        vertical, horizontal = _nearness(corner, down, right, one)
                        share = vertical * horizontal
                        add_scaled(grad_value, cell, grad_out, row, channels, weight * share)
                        product = _product(value, cell, grad_out, row, channels)
                        grad_weights[sample] += share * product
                        # To the right and down the shares of the cells there grow.
                        x_slope = vertical if corner % 2 else -vertical
                        y_slope = horizontal if corner // 2 else -horizontal
                        product *= weight
                        grad_locations[2 * sample] += x_slope * sides[level, 1] * product
                        grad_locations[2 * sample + 1] += y_slope * sides[level, 0] * product
        task = next_task(counter)


@inline
def _place(locations, sample, sides, level):
    """Row and column of the cell above left of a sample, and how far beyond that it lies.

    A sample a cell or more outside of the map gets a cell none of whose neighbours is inside.
    """
    height, width = sides[level, 0], sides[level, 1]
    half = sides.dtype.type(0.5)
    x, y = locations[2 * sample] * width - half, locations[2 * sample + 1] * height - half
    # False for NaN, which lies beyond the first cell, and so passes to the result.
    if x < -1 or y < -1 or x >= width or y >= height:
        return -2, -2, half, half
    top = int(np.floor(y)) if y == y else 0
    left = int(np.floor(x)) if x == x else 0
    return top, left, y - sides.dtype.type(top), x - sides.dtype.type(left)


@inline
def _token(levels, level, y, x):
    """The token of a cell of a level, -1 outside of its map."""
    height, width, first = levels[level]
    if y < 0 or x < 0 or y >= height or x >= width:
        return -1
    return first + y * width + x


@inline
def _nearness(corner, down, right, one):
    """To the row and to the column of the cell above left, above right, below left, below right."""
    return (down if corner // 2 else one - down), (right if corner % 2 else one - right)


@summing
def _product(a, first, b, second, length):
    """The inner product of two rows."""
    total = a.dtype.type(0)
    for i in range(length):
        total += a[np.uint64(first + i)] * b[np.uint64(second + i)]
    return total


@kernel
def forward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, forward_kernel, arguments)


@kernel
def backward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, backward_kernel, arguments)

"""The kernels of RoIAlign. Only ``numba.py`` imports this module, at the first call.

The mean over a cell's samples of bilinear values is a weighted sum over pixels, and its weights are
products of one of the row and one of the column. So both axes of each box get taps, lists of
(pixel, weight) for each cell: ``numbers`` and ``weights``, cut by ``cuts`` (boxes, cells + 1). A
task is one channel of one image, which stays in the cache while all boxes of the image are taken
from it, and whose gradient no other task writes.
"""

import numpy as np

from mmvmamba.ops.cpu.kernels import add_scaled, kernel
from mmvmamba.ops.cpu.team import in_parallel, next_task, next_thread

__all__ = [
    'backward_in_parallel', 'backward_kernel', 'forward_in_parallel', 'forward_kernel', 'make_taps',
]  # fmt: skip


@kernel
def make_taps(extents, cells, ratio, size, half, one, cuts, samples, bounds, numbers, weights):
    """Fills the taps of all boxes along one axis; returns how many there are.

    With empty ``numbers`` it counts only. ``extents`` (boxes, 2) are start and length on the map,
    ``half`` and ``one`` numbers of its dtype, in which all is computed; ``ratio`` that of the
    samples, or 0. ``samples`` (boxes,) gets the samples per cell, ``bounds`` (boxes, 2) the range
    of pixels that a box needs.
    """
    used = 0
    write = numbers.size > 0
    for box in range(len(extents)):
        first, length = extents[box, 0], extents[box, 1]
        cell = length / (one * cells)
        count = ratio if ratio > 0 else int(np.ceil(cell))
        if not (np.isfinite(first) and np.isfinite(length)):
            count = 0
        samples[box] = count
        low_bound, high_bound = size, 0
        for i in range(cells):
            cuts[box, i] = used
            begin = used
            for j in range(count):
                x = first + one * i * cell + (one * j + half) * cell / (one * count)
                # False for NaN, too.
                if not (x >= -one and x <= one * size):
                    continue
                x = max(x, one * 0)
                low = min(int(x), size - 1)
                high = min(low + 1, size - 1)
                rest = x - one * low if low < size - 1 else one * 0
                low_bound, high_bound = min(low_bound, low), max(high_bound, high + 1)
                if not write:
                    used += 2
                    continue
                if used - begin >= 2 and numbers[used - 2] == low and numbers[used - 1] == high:
                    weights[used - 2] += one - rest
                    weights[used - 1] += rest
                    continue
                if used > begin and numbers[used - 1] == low:
                    weights[used - 1] += one - rest
                else:
                    numbers[used], weights[used] = low, one - rest
                    used += 1
                if high > low:
                    numbers[used], weights[used] = high, rest
                    used += 1
        cuts[box, cells] = used
        bounds[box, 0], bounds[box, 1] = min(low_bound, high_bound), high_bound
    return used


@kernel
def forward_kernel(counter, workspace, maps, shape, boxes, starts, counts, rows, columns, out):
    """Fills ``out`` (boxes, channels, cells, cells).

    ``shape`` is (batch, channels, height, width, rows of cells, columns of cells); ``boxes`` the
    numbers of the boxes, those of image b from ``starts[b]`` on; ``counts`` the samples of a cell;
    ``rows`` and ``columns`` are (cuts, bounds, numbers, weights).
    """
    batch, channels, height, width, cells_y, cells_x = shape
    y_cuts, _, y_numbers, y_weights = rows
    x_cuts, x_bounds, x_numbers, x_weights = columns
    line = workspace[next_thread(counter)]
    task = next_task(counter)
    while task < batch * channels:
        b, c = divmod(task, channels)
        for place in range(starts[b], starts[b + 1]):
            box = boxes[place]
            left, used = x_bounds[box, 0], x_bounds[box, 1] - x_bounds[box, 0]
            for i in range(cells_y):
                for x in range(used):
                    line[x] = 0
                for tap in range(y_cuts[box, i], y_cuts[box, i + 1]):
                    row = (task * height + y_numbers[tap]) * width + left
                    add_scaled(line, 0, maps, row, used, y_weights[tap])
                for j in range(cells_x):
                    total = counts[box] * 0
                    for tap in range(x_cuts[box, j], x_cuts[box, j + 1]):
                        total += x_weights[tap] * line[x_numbers[tap] - left]
                    out[((box * channels + c) * cells_y + i) * cells_x + j] = total / counts[box]
        task = next_task(counter)


@kernel
def backward_kernel(counter, workspace, maps, shape, boxes, starts, counts, rows, columns, out):
    """Adds the gradient of ``out`` to that of the maps, which is zero."""
    batch, channels, height, width, cells_y, cells_x = shape
    y_cuts, _, y_numbers, y_weights = rows
    x_cuts, x_bounds, x_numbers, x_weights = columns
    line = workspace[next_thread(counter)]
    task = next_task(counter)
    while task < batch * channels:
        b, c = divmod(task, channels)
        for place in range(starts[b], starts[b + 1]):
            box = boxes[place]
            left, used = x_bounds[box, 0], x_bounds[box, 1] - x_bounds[box, 0]
            for i in range(cells_y):
                for x in range(used):
                    line[x] = 0
                for j in range(cells_x):
                    grad = out[((box * channels + c) * cells_y + i) * cells_x + j] / counts[box]
                    for tap in range(x_cuts[box, j], x_cuts[box, j + 1]):
                        line[x_numbers[tap] - left] += x_weights[tap] * grad
                for tap in range(y_cuts[box, i], y_cuts[box, i + 1]):
                    row = (task * height + y_numbers[tap]) * width + left
                    add_scaled(maps, row, line, 0, used, y_weights[tap])
        task = next_task(counter)


@kernel
def forward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, forward_kernel, arguments)


@kernel
def backward_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, backward_kernel, arguments)

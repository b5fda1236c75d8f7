"""The kernel of ``read_out``. Only ``numba.py`` imports this module, at the first call.

The row of a token's channels stays in the cache from the first of its states to the last of its
results; in its sum over taps a part of the row stays in registers.
"""

import numpy as np

from mmvmamba.ops.cpu.kernels import inline, kernel
from mmvmamba.ops.cpu.lanes import LANES, load, splat, store, total
from mmvmamba.ops.cpu.team import in_parallel, next_task, next_thread
from mmvmamba.ops.state_fusion import DILATIONS

__all__ = ['read_out_in_parallel', 'read_out_kernel']

ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def read_out_kernel(
    counter, workspace, shape, places, states, taps, C, u, D, weight, bias, gate, eps, out
):
    """Fills ``out``; a task is a row of the map. All arrays but ``places`` are flat.

    ``shape`` is (batch, height, width, channels), ``places`` (threads, taps) has room for where the
    states lie that meet a token's taps.
    """
    batch, height, width, channels = shape
    thread = next_thread(counter)
    line, own = workspace[thread], places[thread]
    task = next_task(counter)
    while task < batch * height:
        b, y = divmod(task, height)
        for x in range(width):
            _find_places(own, b, y, x, height, width, channels)
            token = task * width + x
            mean, deviation = _fuse_row(line, own, states, taps, C[token], u, D, token, channels)
            scale = splat(ONE / np.sqrt(deviation + eps))
            at = token * channels
            for part in range(0, channels, LANES):
                normed = (load(line, part) - splat(mean)) * scale
                normed = normed * load(weight, part) + load(bias, part)
                store(out, at + part, normed * load(gate, at + part))
        task = next_task(counter)


@inline
def _find_places(own, b, y, x, height, width, channels):
    """Where the states begin that a token's taps meet, dilation by dilation, row by row."""
    tap = 0
    for dilation in DILATIONS:
        for i in range(-1, 2):
            row = min(max(y + i * dilation, 0), height - 1)
            for j in range(-1, 2):
                column = min(max(x + j * dilation, 0), width - 1)
                own[tap] = ((b * height + row) * width + column) * channels
                tap += 1


@inline
def _fuse_row(line, own, states, taps, factor, u, D, token, channels):
    """Fills the line with what a token reads out, and returns its mean and variance."""
    sums = splat(ZERO)
    for part in range(0, channels, LANES):
        fused = splat(ZERO)
        for tap in range(len(own)):
            fused = fused + load(taps, tap * channels + part) * load(states, own[tap] + part)
        read = fused * splat(factor)
        read = read + load(u, token * channels + part) * load(D, part)
        store(line, part, read)
        sums = sums + read
    count = np.float32(channels)
    mean = total(sums) / count
    squares = splat(ZERO)
    for part in range(0, channels, LANES):
        away = load(line, part) - splat(mean)
        squares = squares + away * away
    return mean, total(squares) / count


@kernel
def read_out_in_parallel(openmp, threads, arguments):
    in_parallel(openmp, threads, read_out_kernel, arguments)

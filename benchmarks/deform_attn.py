"""Deformable attention on a CPU: the compiled kernels against ``grid_sample``, in turns.

    python benchmarks/deform_attn.py [--threads 1] [--rounds 9]

Shapes are those of an adapter in a detector, one image of 800 x 1333, and in the toy detector. Each
query samples near a place of its own, as in a model. Times are processor time, all threads
together, so that other processes disturb them little; medians.
"""

import argparse
import time
from collections.abc import Sequence

import torch
from common import machine, markdown_table, median, set_threads, show_ms

from mmvmamba.ops.ms_deform_attn import ms_deform_attn

BACKENDS = ('torch', 'numba')
PYRAMID, TOY_PYRAMID = ((100, 168), (50, 84), (25, 42)), ((16, 16), (8, 8), (4, 4))
# name: shapes of the value's levels, queries, images, heads, channels of a head.
CASES = {
    'injector of L1': (PYRAMID, 50 * 84, 1, 6, 32),
    'extractor of L1': (PYRAMID[1:2], sum(h * w for h, w in PYRAMID), 1, 6, 32),
    'injector of L3': (PYRAMID, 50 * 84, 1, 8, 56),
    'extractor of L3': (PYRAMID[1:2], sum(h * w for h, w in PYRAMID), 1, 8, 56),
    'injector of the toy': (TOY_PYRAMID, 8 * 8, 8, 4, 16),
    'extractor of the toy': (TOY_PYRAMID[1:2], sum(h * w for h, w in TOY_PYRAMID), 8, 4, 16),
}
POINTS = 4
# How far samples lie from the place of their query, relative to the map.
SPREAD = 0.05


def processor_times(case: Sequence, with_gradients: bool, rounds: int) -> dict[str, float]:
    """Median milliseconds of a call by each backend."""
    shapes, queries, batch, heads, channels = case
    samples = (batch, queries, heads, len(shapes), POINTS)
    places = torch.rand(batch, queries, 1, 1, 1, 2) + SPREAD * torch.randn(*samples, 2)
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, channels)
    leaves = [x.requires_grad_() for x in (value, places, torch.rand(samples))]
    upstream = torch.randn(batch, queries, heads * channels)

    def call(backend: str) -> None:
        with torch.set_grad_enabled(with_gradients):
            out = ms_deform_attn(leaves[0], shapes, *leaves[1:], backend=backend)
        if with_gradients:
            torch.autograd.grad(out, leaves, upstream)

    times: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for number in range(rounds + 1):
        for backend, found in times.items():
            start = time.process_time()
            call(backend)
            if number:
                found.append(1e3 * (time.process_time() - start))
    return {backend: median(found) for backend, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=9)
    args = parser.parse_args()
    set_threads(args.threads)
    rows = []
    for name, case in CASES.items():
        for with_gradients in (False, True):
            found = processor_times(case, with_gradients, args.rounds)
            rows.append(
                {
                    'case': name,
                    'pass': 'forward and backward' if with_gradients else 'forward',
                    **{f'{backend}, ms': show_ms(value) for backend, value in found.items()},
                    'torch : numba': f'{found["torch"] / found["numba"]:.1f}x',
                }
            )
    print(f'{machine()}; torch {torch.__version__}, float32.\n')
    print(markdown_table(list(rows[0]), rows))


if __name__ == '__main__':
    main()

"""The forecast of `mmvmamba memory` beside the memory that a training step really takes.

    python benchmarks/memory.py configs/cls/mambaout_femto_in1k.py --batch-size 16 --shape 160 160
    python benchmarks/memory.py configs/toy/{cls,seg}_mambaout.py --batch-size 16

Measured: how far the resident memory of a process rises over what it had before the model was
built, in steps that follow one at a small size, which loads libraries and compiles kernels.
"""

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from mmvmamba.apis.blank_batches import training_shape
from mmvmamba.apis.memory import KINDS, TrainingStep, forecast_memory

__all__ = ['measure', 'measure_apart']

STEPS = 2
# Freed memory goes back to the system at once, so that what is resident is what is held.
ALLOCATOR = dict(
    MALLOC_MMAP_THRESHOLD_='65536', MALLOC_TRIM_THRESHOLD_='65536', MALLOC_ARENA_MAX='1'
)
# BatchNorm takes no single value, as a pool of 1 x 1 has of one image.
WARM_UP_IMAGES = 2


def _resident(name: str) -> int:
    """A figure of the process in bytes: 'VmRSS' is now, 'VmHWM' the largest so far."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise RuntimeError(f'/proc/self/status has no {name}')


def measure(cfg: Config, batch_size: int, shape: tuple[int, int], amp: bool = False) -> int:
    """Bytes that training steps with data take at most, in this process."""
    TrainingStep(cfg, WARM_UP_IMAGES, shape, amp).run()
    gc.collect()
    before = _resident('VmRSS')
    step = TrainingStep(cfg, batch_size, shape, amp)
    # Forgets the largest so far.
    Path('/proc/self/clear_refs').write_text('5')
    for _ in range(STEPS):
        step.run()
    return _resident('VmHWM') - before


def measure_apart(arguments: list[str]) -> list[int]:
    """What ``measure`` gives for each config of the arguments, in a process of its own."""
    command = [sys.executable, __file__, *arguments, '--only-measure']
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **ALLOCATOR}
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument(
        '--shape', type=int, nargs=2, metavar=('H', 'W'), help="default: training's"
    )
    parser.add_argument('--amp', action='store_true', help='in bfloat16')
    parser.add_argument('--json', action='store_true', help='bytes, as JSON')
    parser.add_argument('--only-measure', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    configs = [Config.fromfile(config) for config in args.configs]
    shapes = [tuple(args.shape or training_shape(cfg)) for cfg in configs]
    if args.only_measure:
        print(
            [
                measure(cfg, args.batch_size, s, args.amp)
                for cfg, s in zip(configs, shapes, strict=False)
            ]
        )
        return
    measured = measure_apart(sys.argv[1:] if arguments is None else arguments)
    # Averages of weights are a hook's, not a step's.
    forecasts = [
        sum(forecast_memory(cfg, args.batch_size, args.amp, shape=shape).at_peak[k] for k in KINDS)
        for cfg, shape in zip(configs, shapes, strict=True)
    ]
    rows = list(zip(args.configs, forecasts, measured, strict=True))
    if args.json:
        print(json.dumps(rows))
        return
    print('| config | images | forecast, MiB | measured | ratio |\n| --- | --- | --- | --- | --- |')
    for (height, width), (name, forecast, taken) in zip(shapes, rows, strict=True):
        figures = f'{forecast / 2**20:,.1f} | {taken / 2**20:,.1f} | {forecast / taken:.3f}'
        print(f'| {Path(name).stem} | {args.batch_size} of {height} x {width} | {figures} |')


if __name__ == '__main__':
    main()

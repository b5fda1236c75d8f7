"""A training step alone, and beside processes that use up a core each, in turns.

    python benchmarks/shared_machine.py [--busy 1] [--rounds 5]

The table has the median of a step and how many times longer it takes beside the busy processes.
Without ``--busy`` they take half of the cores that this process may use.
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import mmvmamba  # noqa: F401  # isort: skip  before torch, whose threads it sets
from common import machine, markdown_table, measure, median, show_spread
from shares import training

from mmvmamba.cpus import usable_cpus

STEPS = 3


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Runs processes that never rest."""
    command = [sys.executable, '-c', 'while True: pass']
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/toy/det_plain_mamba_maskrcnn.py')
    parser.add_argument('--busy', type=int, default=max(usable_cpus() // 2, 1), metavar='N')
    parser.add_argument('--rounds', type=int, default=5, help='of three steps each')
    args = parser.parse_args()
    logging.disable(logging.INFO)
    step = training(args.config)
    step()
    times: dict[int, list[float]] = {0: [], args.busy: []}
    for _ in range(args.rounds):
        for count, found in times.items():
            with busy_processes(count):
                found += [measure(step) for _ in range(STEPS)]
    rows = [
        {
            'busy processes': str(count),
            's a step': f'{median(found):.2f}',
            'spread': show_spread(found),
            'longest': f'{max(found):.2f}',
            'times longer': f'{median(found) / median(times[0]):.2f}',
        }
        for count, found in times.items()
    ]
    print(f'{machine()}, {usable_cpus()} cores.\n')
    print(markdown_table(list(rows[0]), rows))


if __name__ == '__main__':
    main()

"""What ``import mmvmamba`` takes beyond ``import torch``: new processes, in turns.

    python benchmarks/imports.py [--rounds 11]

Run it twice: the first time fills the cache of files.
"""

import argparse
import subprocess
import sys

from common import machine, markdown_table, median, show_spread, take_turns

IMPORTS = ('torch', 'mmvmamba')


def load(name: str) -> None:
    subprocess.run([sys.executable, '-c', f'import {name}'], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=11, help='imports of each (11)')
    args = parser.parse_args()
    runs = [lambda name=name: load(name) for name in IMPORTS]
    times = take_turns(runs, least=args.rounds)
    rows = [
        {'import': name, 's': f'{median(found):.2f}', 'spread': show_spread(found)}
        for name, found in zip(IMPORTS, times, strict=True)
    ]
    print(machine())
    print(markdown_table(['import', 's', 'spread'], rows))
    print(f'beyond torch: {median(times[1]) - median(times[0]):.2f} s')


if __name__ == '__main__':
    main()

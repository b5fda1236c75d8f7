"""Generates data, trains a small Mask R-CNN on a PlainMamba-Adapter, tests it, draws predictions.

Fails if the box AP does not exceed a threshold: the run has to show that the model learns.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/toy/det_plain_mamba_maskrcnn.py'
TIME_STAMP = re.compile(r'^.*mmengine - INFO - ')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/toy_demo', metavar='DIR')
    parser.add_argument('--min-ap', type=float, default=0.30, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    return parser.parse_args()


def run(*arguments: str, show: str) -> str:
    """Runs a tool and prints those of its lines that match ``show``; everything if it fails."""
    env = {**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'}
    lines = []
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if re.search(show, line):
                print(TIME_STAMP.sub('', line), end='', flush=True)
    if process.returncode:
        sys.stderr.writelines(lines)
        sys.exit(process.returncode)
    return ''.join(lines)


def main() -> None:
    args = parse_args()
    started = time.monotonic()
    work_dir = Path(args.work_dir)

    print('\n== 1/3 data', flush=True)
    run('tools/dataset_converters/make_toy_data.py', '--only', 'coco', show='.')

    print(f'\n== 2/3 training; the full log goes to {work_dir}', flush=True)
    shutil.rmtree(ROOT / work_dir, ignore_errors=True)
    run(
        *('tools/train.py', CONFIG, '--work-dir', str(work_dir), '--seed', str(args.seed)),
        show=r'Epoch\(',
    )

    checkpoint = (ROOT / work_dir / 'last_checkpoint').read_text().strip()
    print(f'\n== 3/3 test of {checkpoint}', flush=True)
    output = run(
        *('tools/test.py', CONFIG, checkpoint, '--eval', 'bbox', 'segm'),
        *('--work-dir', str(work_dir / 'test')),
        *('--show-dir', str(work_dir / 'pictures'), '--show-limit', '24'),
        show=r'^[|+]',
    )

    ap = float(re.search(r'\| coco/bbox_mAP +\| +(\S+) \|', output)[1])
    print(f"""
box AP@[.5:.95]  {ap:.3f}, must be above {args.min_ap:.2f}; {time.monotonic() - started:.0f} s
config           {CONFIG}
data             data/toy/coco
checkpoint       {checkpoint}
logs             {work_dir}
pictures         {work_dir}/pictures (left: ground truth, right: prediction)""")
    if ap <= args.min_ap:
        sys.exit(f'error: box AP {ap:.3f} is not above {args.min_ap:.2f}')


if __name__ == '__main__':
    main()

"""Generates data, trains a small Mask R-CNN on a PlainMamba-Adapter, tests it, draws predictions.

The run has to show that the backbone learns. So it fails if the box AP does not exceed a threshold,
and also if it hardly falls when the blocks of the backbone are made anew: an adapter and heads
alone learn these images almost as well.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/toy/det_plain_mamba_maskrcnn.py'
BLOCKS = 'backbone.layers.'
# Trained, the box AP falls from 0.366 to 0.185 with the new blocks of this seed, and to between
# 0.217 and 0.298 with those of three others; where random blocks were frozen during the training,
# from 0.349 to 0.323, and to between 0.332 and 0.369.
NEW_BLOCKS_SEED = 2
MIN_GAIN = 0.08
NEVER = 10**6
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


def renew_blocks(checkpoint: Path, out: Path) -> None:
    """Writes a checkpoint with the blocks of the backbone as they are before training."""
    # Not before, for they take seconds, and the tools are processes of their own.
    import torch
    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from mmvmamba.apis.task_models import build_from_config
    from mmvmamba.checkpoint import read_checkpoint

    # mmengine logs every parameter it initialises.
    MMLogger.get_current_instance().setLevel('ERROR')
    torch.manual_seed(NEW_BLOCKS_SEED)
    model = build_from_config(Config.fromfile(ROOT / CONFIG))
    model.init_weights()
    new = {key: value for key, value in model.state_dict().items() if key.startswith(BLOCKS)}
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict={**read_checkpoint(checkpoint)['state_dict'], **new}), out)


def test(checkpoint: Path, work_dir: Path, *arguments: str, show: str) -> float:
    """Tests a checkpoint. Returns its box AP."""
    output = run(
        *('tools/test.py', CONFIG, str(checkpoint), '--work-dir', str(work_dir), *arguments),
        show=show,
    )
    return float(re.search(r'\| coco/bbox_mAP +\| +(\S+) \|', output)[1])


def test_both(checkpoint: Path, work_dir: Path) -> tuple[float, float]:
    """The box AP as trained, which is shown and drawn, and that with new blocks; at one time."""

    def test_renewed() -> float:
        renewed = ROOT / work_dir / 'new_blocks' / 'new_blocks.pth'
        renew_blocks(checkpoint, renewed)
        return test(renewed, renewed.parent, '--eval', 'bbox', show='$^')

    with ThreadPoolExecutor() as pool:
        renewed = pool.submit(test_renewed)
        trained = test(
            *(checkpoint, work_dir / 'test', '--eval', 'bbox', 'segm'),
            *('--show-dir', str(work_dir / 'pictures'), '--show-limit', '24'),
            show=r'^[|+]',
        )
        return trained, renewed.result()


def fault(trained: float, renewed: float, min_ap: float) -> str | None:
    """What the two figures fail to show; None if they show that the backbone has learnt."""
    if trained <= min_ap:
        return f'box AP {trained:.3f} is not above {min_ap:.2f}'
    if trained - renewed < MIN_GAIN:
        return (
            f'with new random blocks in the backbone the box AP is {renewed:.3f}, less than '
            f'{MIN_GAIN:.2f} below {trained:.3f}: the blocks have learnt nothing'
        )
    return None


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
        # The test that follows looks at the same images.
        *('--cfg-options', f'train_cfg.val_begin={NEVER}'),
        show=r'Epoch\(',
    )

    checkpoint = Path((ROOT / work_dir / 'last_checkpoint').read_text().strip())
    print(f'\n== 3/3 test of {checkpoint}', flush=True)
    trained, renewed = test_both(checkpoint, work_dir)
    print(f"""
box AP@[.5:.95]  {trained:.3f}, must be above {args.min_ap:.2f}; {time.monotonic() - started:.0f} s
with new blocks  {renewed:.3f}, must be {MIN_GAIN:.2f} lower: so much the backbone has learnt
config           {CONFIG}
data             data/toy/coco
checkpoint       {checkpoint}
logs             {work_dir}
pictures         {work_dir}/pictures (left: ground truth, right: prediction)""")
    wrong = fault(trained, renewed, args.min_ap)
    if wrong:
        sys.exit(f'error: {wrong}')


if __name__ == '__main__':
    main()

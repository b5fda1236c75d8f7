"""The toy segmentors, trained and tested through the tools on generated images."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvmamba.datasets.toy import SEG_CLASSES, make_toy_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
# "Background everywhere" reaches 17, one shape told from the rest 34.
MIN_MIOU = 60.0
NUM_VAL = 40


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder, _ = make_toy_data(
        tmp_path_factory.mktemp('data'), 'ade20k', num_train=400, num_val=NUM_VAL
    )
    return folder


def run(tool, family, data, work_dir, *arguments):
    roots = [f'{split}_dataloader.dataset.data_root={data}' for split in ('train', 'val', 'test')]
    command = [sys.executable, f'tools/{tool}.py', f'configs/toy/seg_{family}.py', *arguments]
    command += ['--work-dir', str(work_dir), '--cfg-options', *roots]
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(
    scope='module',
    params=['plain_mamba', pytest.param('vim', marks=pytest.mark.full), 'vmamba'],
)
def trained(request, data, tmp_path_factory):
    """The family, and the checkpoint of its training."""
    work_dir = tmp_path_factory.mktemp(request.param)
    run('train', request.param, data, work_dir, '--seed', '0')
    return request.param, (work_dir / 'last_checkpoint').read_text().strip()


def metrics(output):
    rows = re.findall(r'^\| (\w+) +\| +(\S+) \|$', output, re.MULTILINE)
    return {name: float(value) for name, value in rows if name != 'metric'}


def test_a_toy_segmentor_learns_and_its_results_are_written(trained, data, tmp_path):
    family, checkpoint = trained
    output = run(
        *('test', family, data, tmp_path / 'run', checkpoint),
        *('--eval', 'mIoU', 'mDice', 'mFscore', '--out', str(tmp_path / 'all.pkl')),
        *('--show-dir', str(tmp_path / 'pictures'), '--show-limit', '3'),
    )
    found = metrics(output)
    assert found['mIoU'] > MIN_MIOU
    assert {'aAcc', 'mDice', 'mFscore', 'mPrecision', 'mRecall'} < set(found)
    # Dice is F1, and never below IoU.
    assert found['mDice'] == found['mFscore'] > found['mIoU']
    for name in SEG_CLASSES:
        assert re.search(rf'^\| +{name} +\| +\d+\.\d+ ', output, re.MULTILINE), name
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert len(pictures) == 3
    # Ground truth and prediction side by side, enlarged.
    width, height = Image.open(pictures[0]).size
    assert width > 2 * 400
    assert height >= 400
    with open(tmp_path / 'all.pkl', 'rb') as file:
        samples = pickle.load(file)
    assert len(samples) == NUM_VAL
    hits, total = 0, 0
    for sample in samples:
        truth = np.asarray(Image.open(sample['seg_map_path'])).astype(int) - 1
        guess = sample['pred_sem_seg']['data'][0].numpy()
        assert guess.shape == truth.shape
        hits += np.sum((guess == truth) & (truth >= 0))
        total += np.sum(truth >= 0)
    assert found['aAcc'] == pytest.approx(100 * hits / total, abs=0.01)


def test_scales_and_flips_are_merged(trained, data, tmp_path):
    family, checkpoint = trained
    found = metrics(run('test', family, data, tmp_path, checkpoint, '--tta', '--eval', 'mIoU'))
    assert found['mIoU'] > MIN_MIOU

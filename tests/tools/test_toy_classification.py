"""The toy classifiers, trained and tested through the tools on databases of generated images."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmvmamba.datasets.toy import make_toy_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
MIN_TOP1 = 90.0


def run(*command):
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def data_options(databases):
    names = [
        f'{name}_dataloader.dataset.data_root={databases}' for name in ('train', 'val', 'test')
    ]
    return ('--cfg-options', *names)


def metrics(output):
    rows = re.findall(r'^\| (accuracy/\S+) +\| +(\S+) \|$', output, re.MULTILINE)
    return {name: float(value) for name, value in rows}


@pytest.fixture(scope='module')
def databases(tmp_path_factory):
    """A folder that has nothing but train.lmdb and val.lmdb, as many images as the configs say."""
    out = tmp_path_factory.mktemp('data')
    images, _ = make_toy_data(out, 'imagenet', num_train=4800, num_val=240)
    folder = out / 'databases'
    folder.mkdir()
    for split in ('train', 'val'):
        run(
            *('tools/dataset_converters/create_lmdb_dataset.py', 'create', '--quiet'),
            *(str(images / split), str(folder / f'{split}.lmdb')),
        )
    return folder


FULL = [pytest.param(name, marks=pytest.mark.full) for name in ('plain_mamba', 'vim')]


@pytest.mark.parametrize('family', [*FULL, 'mambavision', 'spatial_mamba'])
def test_a_toy_classifier_learns(family, databases, tmp_path):
    config = f'configs/toy/cls_{family}.py'
    arguments = ('--work-dir', str(tmp_path), *data_options(databases))
    run('tools/train.py', config, '--seed', '0', *arguments)
    checkpoint = (tmp_path / 'last_checkpoint').read_text().strip()
    found = metrics(run('tools/test.py', config, checkpoint, '--eval', 'accuracy', *arguments))
    assert found['accuracy/top1'] > MIN_TOP1
    assert found['accuracy/top1'] <= found['accuracy/top5'] <= 100


def test_a_model_of_another_number_of_classes_is_refused_in_one_line(databases, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, 'tools/train.py', 'configs/toy/cls_mambaout.py'),
            *('--work-dir', str(tmp_path), *data_options(databases), 'model.head.num_classes=5'),
        ],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(
        'error: train_dataloader: the data set must have the 5 classes of the model, got 6 '
    )
    assert f'path: {databases}/train.lmdb' in line
    assert line.endswith('data_preprocessor to 6, or take the data that the model was made for.')
    assert 'Traceback' not in done.stderr

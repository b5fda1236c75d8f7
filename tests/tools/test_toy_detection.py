"""The toy detectors: all take a step; three are trained through the tools until they detect."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmvmamba.cli.configs import load_config
from mmvmamba.datasets.toy import make_toy_data
from tests.one_step import toy_data_options, train_one_step

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}
FAMILIES = (
    *('plain_mamba', 'vim', 'mambavision', 'mambaout'),
    *('vmamba', 'spatial_mamba', 'mila'),
)
HEADS = ('maskrcnn', 'retinanet')
MASKS = {'bbox': 0.25, 'segm': 0.25}
BOXES = {'bbox': 0.15}


def options(folder):
    annotations = f'{folder}/annotations/instances_val2017.json'
    return {
        **{
            f'{name}_dataloader.dataset.data_root': str(folder) for name in ('train', 'val', 'test')
        },
        **{f'{name}_evaluator.ann_file': annotations for name in ('val', 'test')},
    }


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('family', FAMILIES)
def test_a_toy_detector_takes_a_step_and_is_validated(family, head, toy_coco, tmp_path):
    cfg = load_config(
        str(ROOT / f'configs/toy/det_{family}_{head}.py'),
        toy_data_options(toy_coco, has_annotation_file=True),
    )
    runner = train_one_step(cfg, tmp_path)
    assert runner.message_hub.get_scalar('val/coco/bbox_mAP').current() >= 0
    has_masks = 'val/coco/segm_mAP' in runner.message_hub.log_scalars
    assert has_masks == (head == 'maskrcnn')


def run(*command):
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return make_toy_data(tmp_path_factory.mktemp('data'), 'coco')[0]


# Untrained detectors reach less than 0.01. The demo's test trains PlainMamba on one process.
@pytest.mark.parametrize(
    ('name', 'processes', 'metrics'),
    [
        pytest.param('plain_mamba_maskrcnn', 2, MASKS, marks=pytest.mark.full),
        pytest.param('vmamba_maskrcnn', 1, MASKS, marks=pytest.mark.slow),
        pytest.param('mambavision_retinanet', 1, BOXES, marks=pytest.mark.full),
        pytest.param('mambavision_retinanet', 2, BOXES, marks=pytest.mark.slow),
    ],
)
def test_a_toy_detector_learns(name, processes, metrics, shapes, tmp_path):
    config = f'configs/toy/det_{name}.py'
    batch = f'train_dataloader.batch_size={8 // processes}'
    changed = [f'{key}={value}' for key, value in options(shapes).items()]
    run(
        *('tools/dist_train.sh', config, str(processes), '--work-dir', str(tmp_path)),
        *('--seed', '0', '--cfg-options', batch, *changed),
    )
    checkpoint = (tmp_path / 'last_checkpoint').read_text().strip()
    output = run(
        *('tools/dist_test.sh', config, checkpoint, str(processes), '--eval', *metrics),
        *('--work-dir', str(tmp_path / 'test'), '--cfg-options', *changed),
    )
    rows = dict(re.findall(r'^\| coco/(\w+)_mAP +\| +(\S+) \|$', output, re.MULTILINE))
    assert rows.keys() == metrics.keys()
    for metric, least in metrics.items():
        assert float(rows[metric]) > least

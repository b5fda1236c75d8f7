"""The tools as a user runs them: processes that train, are killed, resume and test."""

import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from mmvmamba.compat import prepare_stack
from mmvmamba.datasets.toy import make_toy_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/toy/det_plain_mamba_maskrcnn.py'
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    """A data set of 16 + 9 images and three epochs of four steps, with dropped paths and flips."""
    coco, _ = make_toy_data(tmp_path_factory.mktemp('data'), 'coco', num_train=16, num_val=9)
    annotations = f'{coco}/annotations/instances_val2017.json'
    return [
        '--cfg-options',
        *(f'{name}_dataloader.dataset.data_root={coco}' for name in ('train', 'val', 'test')),
        f'val_evaluator.ann_file={annotations}',
        f'test_evaluator.ann_file={annotations}',
        'train_dataloader.batch_size=4',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'default_hooks.logger.interval=1',
        'model.backbone.drop_path_rate=0.2',
    ]


def run(*command, check=True):
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=500)
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def train(work_dir, options, *arguments):
    command = (sys.executable, 'tools/train.py', CONFIG, '--work-dir', str(work_dir))
    return run(*command, *arguments, *options)


def weights(work_dir):
    prepare_stack()
    return torch.load(work_dir / 'epoch_3.pth', weights_only=True)['state_dict']


def stop_in_second_epoch(work_dir, options, stop_signal):
    """Starts a training and sends it the signal once it is amid the second epoch."""
    command = [sys.executable, 'tools/train.py', CONFIG, '--work-dir', str(work_dir), '--seed', '5']
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if re.search(r'Epoch\(train\) +\[2\]\[2/4\]', line):
            process.send_signal(stop_signal)
            break
    code = process.wait(timeout=120)
    # PyTorch's worker processes may outlive a killed parent.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    return code


def table(output):
    rows = re.findall(r'^\| (coco/\S+) +\| +(\S+) \|$', output, flags=re.MULTILINE)
    # COCO has -1 for sizes of which there are no objects.
    return {name: -1.0 if value == '-' else float(value) for name, value in rows}


@pytest.fixture(scope='module')
def trained(options, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    train(work_dir, options, '--seed', '5')
    return work_dir


@pytest.mark.parametrize('stop_signal', [signal.SIGKILL, signal.SIGINT], ids=['kill', 'ctrl-c'])
def test_a_stopped_run_resumes_to_the_same_weights(stop_signal, trained, options, tmp_path):
    code = stop_in_second_epoch(tmp_path, options, stop_signal)
    assert code == (-9 if stop_signal == signal.SIGKILL else 130)
    assert not (tmp_path / 'epoch_2.pth').exists()
    done = train(tmp_path, options, '--resume')
    assert 'Epoch(train) [1]' not in done.stdout
    expected, resumed = weights(trained), weights(tmp_path)
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name


def test_another_seed_gives_other_weights(trained, options, tmp_path):
    train(tmp_path, options, '--seed', '6')
    expected, other = weights(trained), weights(tmp_path)
    assert not torch.equal(expected['backbone.pos_embed'], other['backbone.pos_embed'])


def test_resume_in_an_empty_work_dir_starts_anew_and_says_so(options, tmp_path):
    done = train(tmp_path, options, '--resume', '--seed', '5')
    assert 'no checkpoint in' in done.stdout + done.stderr
    assert (tmp_path / 'epoch_3.pth').is_file()


def test_two_processes_test_like_one(trained, options, tmp_path):
    checkpoint = str(trained / 'epoch_3.pth')
    arguments = ['--eval', 'bbox', 'segm', *options, 'model.test_cfg.rcnn.score_thr=0.001']
    one = run(
        *(sys.executable, 'tools/test.py', CONFIG, checkpoint),
        *('--work-dir', str(tmp_path / 'one'), *arguments),
    )
    two = run(
        *('tools/dist_test.sh', CONFIG, checkpoint, '2'),
        *('--work-dir', str(tmp_path / 'two'), *arguments),
    )
    results = tmp_path / 'results.jsonl'
    # An odd number of images, none of which is tested twice.
    shared = run(
        *('tools/dist_test.sh', CONFIG, checkpoint, '2', '--results', str(results)),
        *('--work-dir', str(tmp_path / 'shared'), *arguments),
    )
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= table(one.stdout).keys()
    assert table(one.stdout) == table(two.stdout) == table(shared.stdout)
    assert len(results.read_text().splitlines()) == 9


def test_two_processes_train(options, tmp_path):
    run('tools/dist_train.sh', CONFIG, '2', '--work-dir', str(tmp_path), '--seed', '5', *options)
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    log = next(tmp_path.glob('*/*.log')).read_text()
    # 16 images, 4 a step, two processes.
    assert re.search(r'Epoch\(train\) +\[3\]\[2/2\]', log)
    assert 'bbox_mAP' in log


def test_bad_input_of_a_distributed_run_is_one_message(options, tmp_path):
    done = run(
        *('tools/dist_test.sh', CONFIG, 'missing.pth', '2', '--work-dir', str(tmp_path / 'run')),
        *options,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count('error: checkpoint missing.pth does not exist') == 1
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'run').exists()


def test_every_output_of_the_test_tool(trained, options, tmp_path):
    command = (sys.executable, 'tools/test.py', CONFIG, str(trained / 'epoch_3.pth'))
    work_dir = ('--work-dir', str(tmp_path / 'run'))
    threshold = 'model.test_cfg.rcnn.score_thr=0.001'
    run(
        *(*command, *work_dir, '--out', str(tmp_path / 'all.pkl'), '--show-dir', str(tmp_path)),
        *('--show-limit', '3', *options, threshold),
    )
    assert len(pickle.loads((tmp_path / 'all.pkl').read_bytes())) == 9
    assert len(list(tmp_path.glob('*.png'))) == 3

    prefix = tmp_path / 'sent' / 'toy'
    run(*command, *work_dir, '--format-only', str(prefix), *options, threshold)
    results = json.loads(Path(f'{prefix}.bbox.json').read_text())
    assert {'image_id', 'bbox', 'score', 'category_id'} <= results[0].keys()

    done = run(*command, *work_dir, '--tta', '--eval', 'bbox', *options)
    assert 'coco/bbox_mAP' in table(done.stdout)

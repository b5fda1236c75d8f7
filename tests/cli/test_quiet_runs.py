"""Whole runs of each task on toy data: what a user reads, and what is left behind."""

import json
import re

import pytest

from mmvmamba.apis.results import draw_ranked, read_results
from mmvmamba.cli.main import main
from mmvmamba.datasets.toy import make_toy_data
from tests.tools.conftest import ROOT

pytestmark = pytest.mark.slow
LINES = 25
NO_WORKERS = [
    f'{split}_dataloader.{setting}'
    for split in ('train', 'val', 'test')
    for setting in ('num_workers=0', 'persistent_workers=False')
]
# Config, data set, changes that keep it short, and a figure of its validation.
RUNS = {
    'classifier': ('cls_mambaout', 'imagenet', ['train_cfg.max_epochs=1'], 'accuracy/top1'),
    'detector': ('det_mambaout_maskrcnn', 'coco', ['train_cfg.max_epochs=1'], 'coco/bbox_mAP'),
    'segmentor': (
        *('seg_mambaout', 'ade20k'),
        *(['train_cfg.max_iters=2', 'train_cfg.val_interval=2'], 'mIoU'),
    ),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder from where the toy configs find their data."""
    folder = tmp_path_factory.mktemp('place')
    for name in ('imagenet', 'coco', 'ade20k'):
        make_toy_data(folder / 'data/toy', name, num_train=8, num_val=6)
    for split in ('train', 'val'):
        images = folder / 'data/toy/imagenet' / split
        assert main(['data', 'lmdb', 'create', str(images), f'{images}.lmdb', '--quiet']) == 0
    return folder


@pytest.fixture(params=RUNS)
def runs(request, data, tmp_path, monkeypatch, capfd):
    """The output of a training and of a test of its checkpoint, and the work dir."""
    config, _, changes, figure = RUNS[request.param]
    monkeypatch.chdir(data)
    config, work_dir = str(ROOT / f'configs/toy/{config}.py'), tmp_path / 'run'
    options = ['--work-dir', str(work_dir), '--cfg-options']
    arguments = [config, '--seed', '0', '--show-val', '2', '--log-to', 'tensorboard', *options]
    pytest.importorskip('tensorboard')
    assert main(['train', *arguments, 'train_dataloader.batch_size=4', *NO_WORKERS, *changes]) == 0
    train = capfd.readouterr()
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    test_dir = tmp_path / 'test'
    out = [] if request.param == 'segmentor' else ['--out', str(test_dir / 'found.json')]
    arguments = [config, checkpoint, '--work-dir', str(test_dir), *out]
    assert main(['test', *arguments, '--cfg-options', *NO_WORKERS]) == 0
    return request.param, figure, train, capfd.readouterr(), work_dir, test_dir


def test_a_run_says_what_concerns_its_user(runs):
    kind, figure, train, test, work_dir, test_dir = runs
    assert (train.err, test.err) == ('', '')
    lines = train.out.splitlines()
    first = next(i for i, line in enumerate(lines) if '(train)' in line)
    assert first <= LINES
    told = ('model', 'training data', 'validation', 'schedule', 'device', 'operators', 'work dir')
    for name in told:
        assert any(line.startswith(f'{name} ') for line in lines[:first]), name
    # Short runs do not come to the end of their schedules; that is all there is to warn of.
    warned = [line for line in lines if 'warn' in line.lower()]
    assert all(line.endswith(('max_epochs is 1', 'max_iters is 2')) for line in warned)
    end = lines[lines.index(next(line for line in lines if line.startswith('time '))) :]
    assert any(line.startswith('last checkpoint ') for line in end)
    best = [line for line in end if line.startswith(f'best {figure} ')]
    # Detectors are trained by their schedule; their configs keep no checkpoint for its figure.
    assert len(best) == (kind != 'detector')
    assert all(re.search(r' after (epoch 1|step 2)$', line) for line in best), best
    assert f'files  {work_dir}' in ' '.join(end[-1].split()).replace(' ', '  ', 1)

    before, _, table = test.out.partition('+-')
    assert len(before.splitlines()) <= LINES + (10 if kind == 'segmentor' else 0)
    assert f'| {figure}' in test.out
    (log,) = test_dir.glob('*/*.log')
    assert f'+-{table}'.rpartition('| metric')[2].strip() in log.read_text()
    # The log has what the terminal has not.
    assert 'Config:' in log.read_text() and 'Config:' not in test.out
    if kind == 'detector':
        rows = [
            line.split('|')[1:3] for line in table.splitlines() if '_mAP' in line or '_AR' in line
        ]
        assert len(rows) == 24
        assert {value.strip() for name, value in rows if '_l' in name} == {'-'}

    if kind != 'segmentor':
        found = read_results(test_dir / 'found.json')
        assert (len(found.images), found.task[:6]) == (6, kind[:6])
        # Drawn from the paths of the images: files, or records of a database.
        assert draw_ranked(found).shape[1] > 4 * 290
    assert len(list(work_dir.glob('validation/step_*/*.png'))) == 2
    scalars = json.loads(next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()[0])
    losses = [value for path in work_dir.glob('*/vis_data/events*') for value in read_losses(path)]
    assert losses[0] == pytest.approx(scalars['loss'], rel=1e-4)


def read_losses(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path))
    events.Reload()
    known = 'loss' in events.Tags()['scalars']
    return [event.value for event in events.Scalars('loss')] if known else []

"""Every command of the page on the official projects' commands, on toy data.

The commands are read from the page: what it says is what runs.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvmamba.apis import get_model
from mmvmamba.apis.catalogue import find_entry
from mmvmamba.cli.main import parse_args
from mmvmamba.datasets.toy import make_toy_data

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs/official_commands.md'
ROW = re.compile(r'^\| \w+ \| <code>(.+)</code> \| `(.+)` \|$', re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text())
HERE = [here for _, here in ROWS]
NAMES = [f'row{i + 1}' for i in range(len(ROWS))]
# What is between a program and its flags: a config, a checkpoint, a number of processes.
PLACES = dict(dist_train=2, dist_test=3)
COMMANDS = dict(
    dist_train='train', dist_test='test', validate='validate', create_lmdb_dataset='data lmdb'
)
NUM_CLASSES = 6
# The official models of the page by their names here.
CLASSIFIERS = ('plain_mamba_l1', 'mambaout_tiny', 'mambavision_t', 'vim_tiny')


def words_of(line):
    """The program of a command, and the words behind its interpreter and its name."""
    words = shlex.split(line)
    start = next(i for i, word in enumerate(words) if word.endswith(('.py', '.sh')))
    return words[start], words[start + 1 :]


def flags_of(line):
    program, words = words_of(line)
    return words[PLACES.get(Path(program).stem, 0) :]


def test_the_page_has_a_row_for_every_command():
    assert len(ROWS) == 13 == PAGE.read_text().count('<code>')


@pytest.mark.parametrize(('there', 'here'), ROWS, ids=NAMES)
def test_the_flags_are_those_of_the_project(there, here):
    assert flags_of(there) == flags_of(here)


@pytest.mark.parametrize('here', HERE, ids=NAMES)
def test_the_command_is_read(here):
    program, words = words_of(here)
    stem = Path(program).stem
    assert (ROOT / program).is_file()
    if stem in PLACES:
        config, *more = words
        assert (ROOT / config).is_file() and more.pop(PLACES[stem] - 2) == '8'
        words = [config, *more]
    args = parse_args(COMMANDS[stem], words)
    if stem == 'validate':
        assert find_entry(args.model).name in CLASSIFIERS
        assert '/path/to/imagenet' in (args.place, args.data)
        assert args.checkpoint is None or args.checkpoint in words


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder like the root of the project, with toy data where the configs look for it."""
    place = tmp_path_factory.mktemp('place')
    for name in ('tools', 'configs'):
        (place / name).symlink_to(ROOT / name)
    data = place / 'data'
    for name, target in (
        ('imagenet', 'imagenet'),
        ('coco', 'coco'),
        ('ade20k', 'ade/ADEChallengeData2016'),
    ):
        folder, _ = make_toy_data(place / 'toy', name, num_train=6, num_val=6)
        (data / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, data / target)
    with_categories_of_coco(data / 'coco/annotations')
    (place / 'path/to').mkdir(parents=True)
    (place / 'path/to/imagenet').symlink_to(data / 'imagenet')
    return place


def with_categories_of_coco(folder):
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    for file in folder.glob('*.json'):
        content = json.loads(file.read_text())
        content['categories'] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
        file.write_text(json.dumps(content))


def save_weights(name, path):
    """Random weights of a model in the place of its official ones."""
    torch.manual_seed(0)
    entry = find_entry(name)
    if entry.task == 'classification':
        model = get_model(entry.name, num_classes=NUM_CLASSES)
    else:
        config = Config.fromfile(entry.config)
        config.model.backbone.pop('init_cfg')
        with DefaultScope.overwrite_default_scope(config.default_scope):
            model = MODELS.build(config.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict()), path)


def options(config):
    """What makes an experiment of 8 GPUs one of seconds."""
    found = ['model.backbone.init_cfg=None', 'train_dataloader.batch_size=2']
    if '/cls/' in config:
        found += [f'model.head.num_classes={NUM_CLASSES}', 'train_cfg.max_epochs=1']
        found += [f'data_preprocessor.num_classes={NUM_CLASSES}']
        found += [
            f'{split}_dataloader.dataset.type=CustomDataset' for split in ('train', 'val', 'test')
        ]
    elif '/det/' in config:
        found += ['train_cfg.max_epochs=1', 'train_dataloader.dataset.pipeline.2.scale=(96,96)']
        found += [
            f'{split}_dataloader.dataset.pipeline.1.scale=(96,96)' for split in ('val', 'test')
        ]
    else:
        found += ['train_cfg.max_iters=1', 'train_cfg.val_interval=1']
        found += ['train_dataloader.dataset.pipeline.2.scale=(128,64)']
        found += ['train_dataloader.dataset.pipeline.3.crop_size=(64,64)']
        found += ['model.data_preprocessor.size=(64,64)']
        found += [
            f'{split}_dataloader.dataset.pipeline.1.scale=(128,64)' for split in ('val', 'test')
        ]
    workers = [f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')]
    kept = [f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')]
    return ['--cfg-options', *found, *workers, *kept]


def prepared(here, place):
    """The line as it is run: two processes for eight, and files in the places of the paths."""
    for path in re.findall(r'/path/to/(\w+)\.pth', here):
        if not (place / f'path/to/{path}.pth').exists():
            save_weights(path, place / f'path/to/{path}.pth')
    program, words = words_of(here)
    line = here.replace(' /path/', ' path/')
    if Path(program).stem in PLACES:
        line = line.replace(' 8', ' 2', 1)
        line += ' ' + shlex.join(options(words[0]))
    elif '.pth' not in here and 'validate' in program:
        entry = find_entry(words[words.index('--model') + 1])
        cached = place / 'torch/hub/checkpoints/mmvmamba' / entry.weights.partition('://')[2]
        save_weights(entry.name, cached)
    return line


def run(here, place):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TORCH_HOME=str(place / 'torch'))
    environment |= dict(OMP_NUM_THREADS='1', PYTHON=sys.executable)
    environment['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    process = subprocess.run(
        ['bash', '-c', prepared(here, place)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout


def check(here, place):
    """Runs a command and looks for what it is there for."""
    output = run(here, place)
    program, words = words_of(here)
    stem = Path(program).stem
    if stem == 'create_lmdb_dataset':
        assert output.count('6 images') == 2
        for flag in ('--train-out', '--val-out'):
            assert (place / words[words.index(flag) + 1] / 'data.mdb').is_file()
    elif stem == 'dist_train':
        work_dir = place / 'work_dirs' / Path(words[0]).stem
        assert list(work_dir.glob('*_1.pth'))
    else:
        figures = dict(accuracy='accuracy/top5', bbox='coco/bbox_mAP', segm='coco/segm_mAP')
        asked = [word for word in words if word in (*figures, 'mIoU')] or ['accuracy']
        for name in asked:
            assert re.search(rf'\| {figures.get(name, name)} +\| +[\d.-]+ \|', output), output


@pytest.mark.slow
@pytest.mark.parametrize('here', [line for line in HERE if 'create_lmdb' in line or ' -b ' in line])
def test_two_commands_run(here, place):
    check(here, place)


@pytest.mark.full
@pytest.mark.parametrize('here', HERE, ids=NAMES)
def test_every_command_runs(here, place):
    check(here, place)

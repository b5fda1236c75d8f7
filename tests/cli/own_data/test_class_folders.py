"""``mmvmamba train --data`` with a folder for each class."""

import re

import numpy as np
import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from PIL import Image

from mmvmamba.apis.catalogue import catalogue
from mmvmamba.cli.configs import load_config
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.main import main, parse_args
from mmvmamba.cli.own_data import recognise, write_config

CLASSES = ('cat', 'dog', 'emu')
# The smallest classifier of each family.
MODELS = {
    entry.name.split('_')[0]: entry.name for entry in reversed(catalogue(task='classification'))
}


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for split, count in (('train', 4), ('valid', 2)):
        for name in CLASSES:
            (tmp_path / 'mine' / split / name).mkdir(parents=True)
            for i in range(count):
                image = generator.integers(0, 255, (40, 50, 3), np.uint8)
                Image.fromarray(image).save(tmp_path / 'mine' / split / name / f'{i}.png')
    return tmp_path / 'mine'


def arguments(folder, *more, model='mambaout_test', weights='none'):
    work_dir = str(folder.parent / 'run')
    given = ['--data', str(folder), '--model', model, '--weights', weights, *more]
    return ['--work-dir', work_dir, *given]


def test_a_folder_is_recognised(folder):
    found = recognise(str(folder))
    assert (found.classes, found.train, found.val, found.val_folder) == (CLASSES, 12, 6, 'valid')
    assert str(found) == 'class folders, 3 classes, 12 images for training and 6 for validation'


@pytest.mark.parametrize('model', MODELS.values())
def test_the_config_suits_every_family(model, folder, capsys):
    cfg = load_config(write_config(parse_args('train', arguments(folder, model=model))))
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 3
    assert cfg.train_dataloader.dataset.data_root == str(folder.resolve())
    assert cfg.val_dataloader.dataset.data_prefix == 'valid'
    assert cfg.train_cfg.max_epochs == 30
    assert [item['type'] for item in cfg.param_scheduler] == ['LinearLR', 'CosineAnnealingLR']
    assert 'class folders, 3 classes' in capsys.readouterr().out


def test_the_rate_rises_to_its_value_in_the_shortest_training(folder):
    arguments_of_one = arguments(folder, '--epochs', '1')
    warmup = load_config(write_config(parse_args('train', arguments_of_one))).param_scheduler[0]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = PARAM_SCHEDULERS.build(dict(warmup, optimizer=optimizer))
    # Four steps: the batches have three images.
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.01, 1, 1, 1])


@pytest.mark.parametrize('model', MODELS.values())
def test_weights_are_all_that_the_backbone_begins_with(model, folder, tmp_path):
    weights = tmp_path / 'first.pth'
    torch.save({}, weights)
    given = arguments(folder, model=model, weights=str(weights))
    cfg = load_config(write_config(parse_args('train', given)))
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=str(weights))


def another_class(folder):
    (folder / 'valid/emu').rename(folder / 'valid/fox')


def no_validation(folder):
    (folder / 'valid').rename(folder / 'other')


def no_training(folder):
    (folder / 'train').rename(folder / 'other')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (another_class, 'train and valid must have the same classes; emu, fox are in one'),
        (no_validation, 'class folders, but none in val or valid .*looked for DIR/train/CLASS'),
        (no_training, 'holds class folders, but none in train; looked for DIR/train/CLASS'),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(change, message, folder):
    change(folder)
    with pytest.raises(UserError, match=message):
        recognise(str(folder))


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(model='mambaout_tset'), 'must be a classifier, got .*did you mean mambaout_test'),
        (dict(model='l1_maskrcnn_1x'), "must be a classifier, got 'l1_maskrcnn_1x'"),
        (dict(weights='gone.pth'), 'checkpoint gone.pth does not exist'),
    ],
)
def test_bad_input_writes_nothing(given, message, folder):
    with pytest.raises(UserError, match=message):
        write_config(parse_args('train', arguments(folder, **given)))
    assert [path.name for path in folder.parent.iterdir()] == ['mine']


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ([], 'give a config, or --data DIR and --model NAME'),
        (['--data', 'x'], '--data DIR needs --model NAME and no config'),
        (['a.py', '--data', 'x', '--model', 'y'], '--data DIR needs --model NAME and no config'),
        (['a.py', '--model', 'y'], '--model and --weights go together with --data DIR'),
    ],
)
def test_arguments_that_do_not_go_together(given, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['train', *given])
    assert message in capsys.readouterr().err


def test_a_changed_config_is_not_overwritten(folder):
    args = parse_args('train', arguments(folder))
    path = write_config(args)
    assert write_config(args) == path
    with open(path, 'a') as file:
        file.write('# mine\n')
    with pytest.raises(UserError, match=f'is there and differs; mmvmamba train {path} runs it'):
        write_config(args)


@pytest.mark.slow
def test_one_call_trains(folder, capfd):
    assert main(['train', *arguments(folder, '--epochs', '1', '--seed', '0')]) == 0
    text = capfd.readouterr().out
    config = re.search(r'^config +(\S+)$', text, re.MULTILINE)[1]
    work_dir = folder.parent / 'run'
    assert (work_dir / 'epoch_1.pth').is_file() and 'accuracy/top1' in text
    # The run can be repeated from its config.
    again = folder.parent / 'again'
    assert main(['train', config, '--work-dir', str(again), '--seed', '0']) == 0
    assert (again / 'epoch_1.pth').is_file()

"""The tools refuse a checkpoint that is not one of the model, before they write anything."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis.task_models import build_from_config

ROOT = Path(__file__).parents[2]
META = dict(epoch=1, iter=50, seed=0, mmengine_version='0.10.7')
MODEL = 'det_plain_mamba_maskrcnn'
FIRST_CONV = 'backbone.spm.stem.0.weight'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Writes the checkpoint of a toy model after changes. Returns its path."""
    folder = tmp_path_factory.mktemp('checkpoints')

    def write(name, change=None, **entries):
        path = folder / f'{name}_{change and change.__name__}_{"_".join(entries)}.pth'
        if not path.exists():
            state = build_from_config(Config.fromfile(ROOT / f'configs/toy/{name}.py')).state_dict()
            if change:
                change(state)
            torch.save(dict(meta=META, state_dict=state, message_hub={}) | entries, path)
        return str(path)

    return write


@pytest.fixture
def refused(train_tool, test_tool, toy_options, tmp_path, monkeypatch, capsys):
    """Runs a tool in a folder of its own, which it must leave empty. Returns its message."""
    monkeypatch.chdir(tmp_path)

    def run(way, path, config=MODEL, *arguments, options=()):
        config = str(ROOT / f'configs/toy/{config}.py')
        options = ['--cfg-options', *toy_options, *options]
        with pytest.raises(SystemExit) as end:
            if way == 'test':
                test_tool.main([config, path, *arguments, *options])
            elif way == 'resume':
                train_tool.main([config, '--resume', path, *arguments, *options])
            else:
                train_tool.main([config, *arguments, *options, f'load_from={path}'])
        assert end.value.code == 2
        assert list(tmp_path.iterdir()) == []
        error = capsys.readouterr().err
        assert 'Traceback' not in error
        return error

    return run


def other_classes(state):
    key = 'roi_head.bbox_head.fc_cls.weight'
    state[key] = torch.zeros(81, *state[key].shape[1:])


def lose_keys(state):
    for key in [key for key in state if key.startswith('rpn_head.')]:
        del state[key]


def add_keys(state):
    state['panoptic_head.weight'] = torch.zeros(3)


every_way = pytest.mark.parametrize('way', ['test', 'load_from', 'resume'])


@every_way
@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('det_vim_maskrcnn', 'holds vim weights, PlainMambaAdapter takes those of plain_mamba'),
        ('cls_plain_mamba', 'missing in the file'),
        ('seg_plain_mamba', 'missing in the file'),
        ('det_plain_mamba_retinanet', 'missing in the file'),
    ],
)
def test_file_of_another_model(way, name, message, refused, checkpoint):
    assert message in refused(way, checkpoint(name))


@every_way
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (other_classes, 'fc_cls.weight (81, 128) in the file, (4, 128) in the model'),
        (lose_keys, '6 missing in the file: rpn_head.rpn_conv.weight'),
        (add_keys, '1 not in the model: panoptic_head.weight'),
    ],
)
def test_file_that_was_changed(way, change, message, refused, checkpoint):
    error = refused(way, checkpoint(MODEL, change))
    assert message in error
    assert ('--allow-partial' in error) == (way != 'resume')


@every_way
def test_file_that_is_damaged(way, refused, tmp_path_factory, checkpoint):
    whole = Path(checkpoint(MODEL)).read_bytes()
    path = tmp_path_factory.mktemp('damaged') / 'half.pth'
    path.write_bytes(whole[: len(whole) // 2])
    assert 'half.pth' in refused(way, str(path))


def test_weights_alone_are_not_resumed(refused, checkpoint):
    error = refused('resume', checkpoint(MODEL, meta={}))
    assert 'is no checkpoint of a training run: it has no meta.epoch, meta.iter' in error
    assert 'load_from' in error


def test_allow_partial_does_not_take_another_family(refused, checkpoint):
    error = refused('test', checkpoint('det_vim_maskrcnn'), MODEL, '--allow-partial')
    assert 'holds vim weights' in error


def test_home_folder_and_hub_folder_are_checkpoints(train_tool, checkpoint, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    from mmvmamba.cli.preflight import check_checkpoint

    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'a.pth').write_bytes(Path(checkpoint(MODEL)).read_bytes())
    check_checkpoint('~/a.pth')
    (tmp_path / 'folder').mkdir()
    save_file({'a': torch.zeros(1)}, tmp_path / 'folder/model.safetensors')
    check_checkpoint(str(tmp_path / 'folder'))


@pytest.mark.slow
def test_a_part_is_fine_tuned_and_the_rest_listed(toy_options, checkpoint, tmp_path):
    path = checkpoint('cls_mambaout')
    command = [
        sys.executable, 'tools/train.py', 'configs/toy/det_mambaout_retinanet.py',
        '--work-dir', str(tmp_path), '--allow-partial', '--seed', '0', '--cfg-options',
        *toy_options, f'load_from={path}', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=2',
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    log = done.stdout + done.stderr
    unused = next(line for line in log.splitlines() if 'not used:' in line)
    assert 'head.fc.weight' in unused
    left = next(line for line in log.splitlines() if 'left as they were:' in line)
    assert 'bbox_head.retina_cls.weight' in left
    assert 'backbone.stages' not in left

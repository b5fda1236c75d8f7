"""The converter and the publisher of checkpoints, as a user calls them."""

import contextlib
import hashlib
import importlib.util
import io
import os
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from mmvmamba import get_model
from mmvmamba.apis import model_config
from mmvmamba.checkpoint import CheckpointError, save_published
from tests.full_disk import small_disk
from tests.kills import kill_count, run_and_kill, seconds_of
from tests.official_files import golden, model_of, state_of, write_hub_folder, write_official

TOOLS = Path(__file__).parents[2] / 'tools' / 'model_converters'


@pytest.fixture
def tool(monkeypatch):
    """The ``main`` of a tool."""

    def load(name):
        monkeypatch.syspath_prepend(str(TOOLS))
        sys.modules.pop(name, None)
        return __import__(name).main

    return load


def written(folder, stem):
    (path,) = folder.glob(f'{stem}-*.pth')
    digest = re.fullmatch(rf'{stem}-([0-9a-f]{{8}})\.pth', path.name).group(1)
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    return path, torch.load(path, weights_only=True)


def only_plain_data(value):
    if isinstance(value, dict):
        return all(only_plain_data(inner) for inner in (*value.keys(), *value.values()))
    if isinstance(value, list):
        return all(map(only_plain_data, value))
    return isinstance(value, str | int | float | bool | type(None))


@pytest.mark.parametrize(
    ('family', 'case_name', 'model'),
    [
        ('plain_mamba', 'l1_cls_224', 'plain_mamba_l1'),
        ('vim', 'vim_tiny_224', 'vim_tiny'),
        ('mambaout', 'femto_224x224', 'mambaout_femto'),
        ('mambaout', 'timm_test_mambaout_64x64', 'mambaout_test'),
    ],
)
def test_official_file_is_recognised_and_converted(
    family, case_name, model, tool, tmp_path, capsys
):
    case = golden(family, case_name)
    source = write_official(tmp_path / 'official', family, state_of(case))
    tool('convert_checkpoint')([str(source), str(tmp_path / 'clean.pth')])
    path, content = written(tmp_path, 'clean')
    assert set(content) == {'meta', 'state_dict'}
    assert only_plain_data(content['meta'])
    assert (content['meta']['family'], content['meta']['model']) == (family, model)
    printed = capsys.readouterr().out
    assert f'loads strictly into {model}' in printed
    if family == 'plain_mamba':
        assert '1 dropped:\n  ema_backbone_pos_embed' in printed
    else:
        first = next(iter(case.spec['keys']))
        assert f'  {first} -> backbone.' in printed
    loaded, expected = (get_model(model, pretrained=file).state_dict() for file in (path, source))
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_hub_folder_is_converted_for_a_config_of_another_model(tool, tmp_path):
    case = golden('mambavision', 'small_b_64x64')
    source = write_hub_folder(tmp_path / 'hub', state_of(case))
    name, overrides = model_of(case)
    config = tmp_path / 'config.py'
    model_config(name, **overrides).dump(config)
    tool('convert_checkpoint')([str(source), str(tmp_path / 'clean.pth'), '--config', str(config)])
    path, _ = written(tmp_path, 'clean')
    model = get_model(name, pretrained=path, **overrides)
    with torch.no_grad():
        case.check('logits', model(case.input().float()))


def test_position_embedding_is_resized_for_a_config(tool, tmp_path, capsys):
    case = golden('vim', 'micro_64_to_96_middle_aware')
    source = write_official(tmp_path / 'official', 'vim', state_of(case))
    name, overrides = model_of(case)
    model_config(name, **overrides).dump(tmp_path / 'config.py')
    arguments = [str(source), str(tmp_path / 'c.pth'), '--config', str(tmp_path / 'config.py')]
    tool('convert_checkpoint')(arguments)
    _, content = written(tmp_path, 'c')
    assert '1 resized:\n  backbone.pos_embed' in capsys.readouterr().out
    assert content['state_dict']['backbone.pos_embed'].shape == (1, 37, 48)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--family', 'vim'], 'was to hold vim weights'),
        (['--entry', 'model_ema'], "no weights under 'model_ema'"),
        (['--model', 'mambaout_femto'], 'does not fit'),
        ([], 'name its config with --config'),
    ],
)
def test_what_cannot_be_converted_is_reported(arguments, message, tool, tmp_path, capsys):
    case = golden('mambaout', 'micro_64x64')
    source = write_official(tmp_path / 'official', 'mambaout', state_of(case))
    with pytest.raises(SystemExit) as error:
        tool('convert_checkpoint')([str(source), str(tmp_path / 'clean.pth'), *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_published_model_has_weights_and_plain_data_only(tool, tmp_path, capsys):
    model = get_model('mambaout_test', num_classes=3)
    averaged = {key: value + 1 for key, value in model.state_dict().items()}
    content = dict(
        meta=dict(
            epoch=3, cfg='model = 1', dataset_meta=dict(classes=('a', 'b', 'c')), x=np.ones(2)
        ),
        state_dict=averaged,
        ema_state_dict={
            **{f'module.{key}': value for key, value in model.state_dict().items()},
            'steps': torch.tensor(7),
        },
        message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1]))),
        optimizer=dict(state={0: dict(exp_avg=torch.zeros(10))}),
    )
    torch.save(content, tmp_path / 'epoch_3.pth')
    source = str(tmp_path / 'epoch_3.pth')
    tool('publish_model')([source, str(tmp_path / 'average.pth')])
    path, published = written(tmp_path, 'average')
    assert published['meta'] == dict(
        epoch=3, cfg='model = 1', dataset_meta=dict(classes=['a', 'b', 'c'])
    )
    assert all(torch.equal(published['state_dict'][key], averaged[key]) for key in averaged)
    assert 'left out: ema_state_dict, message_hub, optimizer' in capsys.readouterr().out
    tool('publish_model')([source, str(tmp_path / 'raw.pth'), '--raw'])
    _, raw = written(tmp_path, 'raw')
    assert set(raw['state_dict']) == set(averaged)
    assert torch.equal(raw['state_dict']['head.fc.bias'], model.head.fc.bias)
    loaded = get_model('mambaout_test', pretrained=path)
    assert loaded._dataset_meta == dict(classes=['a', 'b', 'c'])
    assert loaded.head.num_classes == 3


def test_file_without_weights_is_not_published(tool, tmp_path, capsys):
    torch.save(dict(meta={}, model={}), tmp_path / 'odd.pth')
    with pytest.raises(SystemExit):
        tool('publish_model')([str(tmp_path / 'odd.pth'), str(tmp_path / 'out.pth')])
    assert "no 'state_dict'" in capsys.readouterr().err
    assert not list(tmp_path.glob('out*'))


def test_configs_of_the_table_are_readable(tmp_path):
    model_config('mambavision_l2_512_21k').dump(tmp_path / 'config.py')
    config = Config.fromfile(tmp_path / 'config.py')
    assert config.model.backbone.arch == 'L2_512'


SAVE_ON_DISK = dict(weight=torch.arange(300_000, dtype=torch.float32))


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    message = r'x\.pth cannot be written \(No space left .*free some'
    with small_disk(tmp_path / 'disk', 1 << 20) as disk:
        with pytest.raises(CheckpointError, match=message):
            save_published(SAVE_ON_DISK, {}, disk / 'x.pth')
        assert list(disk.iterdir()) == []


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    replace = os.replace
    monkeypatch.setattr('os.fsync', lambda handle: calls.append('sync'))
    monkeypatch.setattr('os.replace', lambda *paths: (calls.append('rename'), replace(*paths)))
    path = save_published(SAVE_ON_DISK, {}, tmp_path / 'x.pth')
    assert calls == ['sync', 'rename', 'sync'] and list(tmp_path.iterdir()) == [path]


def save_large(folder):
    save_published(dict(weight=torch.arange(5_000_000, dtype=torch.float32)), {}, folder / 'x.pth')


def convert_small(folder):
    """Runs the tool as a user does, with what it prints out of the way."""
    spec = importlib.util.spec_from_file_location('tool', TOOLS / 'convert_checkpoint.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        source = str(folder.parent / 'official.pth')
        module.main([source, str(folder / 'x.pth'), '--model', 'mambaout_test'])


@pytest.mark.slow
@pytest.mark.parametrize('write', [save_large, convert_small])
def test_killed_conversions_leave_no_half_written_file(write, tmp_path):
    case = golden('mambaout', 'timm_test_mambaout_64x64')
    write_official(tmp_path / 'official', 'mambaout', state_of(case))
    draw, kills = random.Random(0), 0
    (tmp_path / 'first').mkdir()
    longest = seconds_of(write, tmp_path / 'first')
    folder = tmp_path / 'out'
    folder.mkdir()
    while kills < kill_count():
        kills += run_and_kill(draw, longest, write, folder)
        for path in folder.glob('*.pth'):
            assert path.name in [whole.name for whole in (tmp_path / 'first').iterdir()]
            written(folder, 'x')
    write(folder)
    assert [path.name for path in folder.iterdir()] == [
        path.name for path in (tmp_path / 'first').iterdir()
    ]

"""``mmvmamba predict --results`` as a user runs it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import mmvmamba
from mmvmamba.cli.main import main

pytest.importorskip('mmpretrain')


@pytest.fixture
def command(tmp_path):
    """The command, and a folder with three images, one of them damaged."""
    for name in 'ab':
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        (tmp_path / 'images').mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{name}.png')
    (tmp_path / 'images' / 'c.png').write_bytes(b'no image')
    weights = tmp_path / 'weights.pth'
    torch.save(mmvmamba.get_model('mambaout_test').state_dict(), weights)
    arguments = ['--model', 'mambaout_test', '--weights', str(weights), '--device', 'cpu']
    return ['predict', str(tmp_path / 'images'), *arguments]


def test_a_folder_becomes_one_file(command, tmp_path, capsys):
    out = tmp_path / 'out.jsonl'
    assert main([*command, '--results', str(out)]) == 0
    assert f'{out}: 3 images' in capsys.readouterr().out
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record['input'][-5:] for record in records] == ['a.png', 'b.png', 'c.png']
    assert records[0]['width'] == 40 and records[0]['classes'][0]['score'] > 0
    assert records[2]['error'] == 'it cannot be read as an image'


def test_a_folder_is_looked_at_by_a_model_made_ready(command, tmp_path, capsys, made_ready):
    assert main([*command, '--results', str(tmp_path / 'out.jsonl'), '--optimize']) == 0
    assert len(made_ready) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--launcher', 'pytorch'], '--launcher is for --results'),
        (['--results', 'a.jsonl', '--json'], 'leave --out, --json out'),
    ],
)
def test_arguments_that_exclude_each_other_are_refused(command, arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, *arguments])
    assert end.value.code == 2 and message in capsys.readouterr().err

import logging
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from mmvmamba.cli.main import main

CONFIG = Path(__file__).parents[2] / 'configs' / 'cls' / 'mambaout_femto_in1k.py'


def test_both_conventions_are_named(capsys):
    assert main(['flops', 'mambaout_femto', '--by-module']) == 0
    text = capsys.readouterr().out
    lines = {line.split('  ')[0]: line for line in text.splitlines()}
    assert '7,304,536' in lines['parameters']
    assert '2.296 G, each multiplication and each addition' in lines['FLOPs']
    assert '1.148 G, as papers count' in lines['MACs']
    assert 'native_layer_norm 25x' in lines['not counted']
    assert 'backbone.stages' in text and 'backbone.stages.0' not in text


def test_the_toolboxes_say_nothing_of_a_training(monkeypatch):
    said = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, 'emit', lambda record: said.append(record.getMessage()))
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [handler])
    # Its images are mixed, for which mmpretrain changes the labels and says so.
    assert main(['flops', str(CONFIG)]) == 0
    assert said == []


def test_sequences_are_judged(capsys):
    assert main(['flops', 'vit_small_visible', '--token-mixing', '--shape', '800', '1280']) == 0
    *_, stage = capsys.readouterr().out.splitlines()
    assert stage.split() == [
        *('1', '4,000', '384', '14.156', 'G', '24.576', 'G', 'L', '>', '2,304', '1.736'),
        'long-sequence',
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['no_such_model'], "there is no model 'no_such_model'"),
        (['vim_tiny', '--shape', '3', '5'], 'the model takes no image of 3 x 5'),
        (['vim_tiny', '--token-mixing', '--shape', '3', '5'], 'must have sides of 16 pixels'),
        (['vim_tiny', '--mlp-ratio', '0'], '--mlp-ratio must be above 0, got 0'),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['flops', *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

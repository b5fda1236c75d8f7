"""``mmvmamba memory`` as a user types it."""

import pytest

from mmvmamba.cli.main import main

pytest.importorskip('mmpretrain')
TOY = 'configs/toy/cls_mambaout.py'


def test_a_table_says_what_takes_how_much(capsys):
    arguments = ['--batch-size', '2', '--shape', '32', '48', '--strategy', 'fsdp', '--gpus', '8']
    assert main(['memory', TOY, *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == '2 images of 32 x 48 on each of 8 GPUs by fsdp, float32'
    kinds = [line[:24].strip() for line in lines[3:12]]
    assert kinds == [
        'on each, MiB',
        'parameters and buffers',
        'gradients',
        'optimizer',
        'batch',
        'activations',
        'gathered parameters',
        'gradients on their way',
        'in all',
    ]
    *parts, total = (float(line.split()[-1].replace(',', '')) for line in lines[4:12])
    assert total == pytest.approx(sum(parts), abs=0.4)
    assert 'not counted' in lines[-1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['configs/toy/cls_mamba.py'], 'cls_mamba.py does not exist; did you mean'),
        ([TOY, '--strategy', 'zero'], "invalid choice: 'zero'"),
        ([TOY, '--gpus', '0'], 'must be 1 or more, got 0'),
        ([TOY, '--batch-size', 'many'], "must be a whole number, got 'many'"),
        (
            ['vim_tiny', '--shape', '3', '5', '--batch-size', '2'],
            'takes no training step of 2 images',
        ),
        ([TOY, '--cfg-options', 'modle.head=1'], 'modle.head'),
        ([TOY, '--cfg-options', 'train_dataloader=None'], 'nothing to train'),
    ],
)
def test_bad_input_ends_in_one_message(arguments, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['memory', *arguments])
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1] and 'Traceback' not in error

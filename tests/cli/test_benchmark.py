import csv
import math

import cv2
import pytest
import torch

from mmvmamba.apis.benchmark import run_benchmark
from mmvmamba.apis.timing import TimingSettings, time_model
from mmvmamba.cli.benchmark_presets import PRESETS
from mmvmamba.cli.main import main

ONCE = ['--seconds', '0', '--passes', '1']


def test_rows_csv_and_plot(capsys, tmp_path):
    table, plot = tmp_path / 'speed.csv', tmp_path / 'speed.png'
    files = ['--csv', str(table), '--plot', str(plot)]
    models = ['mambaout_test', '--baseline', 'deit_tiny', '--sweep', '32', '64']
    assert main(['benchmark', *models, *ONCE, *files]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    with table.open() as file:
        rows = list(csv.DictReader(file))
    names = ['mambaout_test', 'deit_tiny, fused attention', 'deit_tiny, plain attention']
    assert [row['model'] for row in rows] == [names[0]] * 2 + names[1:] * 2
    assert [row['image'] for row in rows] == [
        *('32 x 32', '64 x 64'),
        *['32 x 32'] * 2,
        *['64 x 64'] * 2,
    ]
    assert all(float(row['images/s']) > 0 and float(row['ms']) > 0 for row in rows)
    assert len(lines) == len(rows) and header.split() == list(rows[0])
    picture = cv2.imread(str(plot))
    assert picture.shape[1] > 1000
    assert 0.5 < (picture == 255).all(axis=-1).mean() < 0.99


@pytest.mark.parametrize('option', [['--train'], ['--dtype', 'bfloat16'], ['--channels-last']])
def test_options_reach_the_model(option, capsys):
    assert main(['benchmark', 'mambaout_test', '--shape', '32', '32', *option, *ONCE]) == 0
    assert 'mambaout_test' in capsys.readouterr().out


def test_models_made_ready_are_timed(capsys, made_ready):
    models = ['mambaout_test', '--shape', '32', '32', '--batch-size', '1', '2', '--optimize']
    assert main(['benchmark', *models, *ONCE]) == 0
    assert len(made_ready) == 2


def test_training_of_models_made_ready_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(['benchmark', 'mambaout_test', '--optimize', '--train'])
    assert end.value.code == 2
    assert '--optimize makes models ready for inference alone' in capsys.readouterr().err


class Recorder(torch.nn.Module):
    """Notes what it is given."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 1)
        self.seen = []

    def forward(self, images):
        out = self.conv(images)
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((tuple(images.shape), self.training, channels_last, out.dtype))
        return {'out': [out]}


def test_a_model_is_run_as_it_is_said():
    settings = TimingSettings(
        3, (8, 16), dtype='bfloat16', channels_last=True, train=True, warmups=2, least=4, seconds=0
    )
    model = Recorder()
    timing = time_model('model', model, settings)
    # Warm-ups, one pass for the memory, then those that count.
    assert model.seen == [((3, 3, 8, 16), True, True, torch.bfloat16)] * (2 + 1 + 4)
    assert len(timing.times) == 4
    assert timing.memory > 0
    assert model.conv.weight.grad is None, 'gradients do not add up from pass to pass'


def test_time_goes_on_until_there_is_enough():
    timing = time_model('model', Recorder(), TimingSettings(shape=(8, 8), least=1, seconds=0.05))
    assert sum(timing.times) >= 0.05 and len(timing.times) > 1


class Greedy(torch.nn.Module):
    def forward(self, images):
        raise torch.OutOfMemoryError('CUDA out of memory')


def test_too_little_memory_is_a_result():
    timing = time_model('model', Greedy(), TimingSettings(shape=(8, 8)))
    assert timing.times == () and math.isnan(timing.memory)


def test_presets_are_those_of_the_papers():
    vim, mambavision = PRESETS['vim'], PRESETS['mambavision']
    assert vim.sides == (512, 640, 738, 1024, 1248)
    assert (vim.settings.batch_size, vim.settings.dtype, vim.only_features) == (64, 'float32', True)
    settings = mambavision.settings
    assert (settings.batch_size, settings.dtype, settings.channels_last) == (128, 'float16', True)
    assert (settings.warmups, settings.least) == (10, 500)


def test_features_are_those_of_the_backbone():
    settings = TimingSettings(warmups=0, least=1, seconds=0)
    found = run_benchmark(['mambaout_test'], ['swin_t'], [(64, 64)], settings, only_features=True)
    assert [timing.name for timing in found] == ['mambaout_test', 'swin_t']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'name a model'),
        (['no_such_model'], "there is no model 'no_such_model'"),
        (['vim_tiny', '--baseline', 'resnet'], 'a baseline must be one of deit_tiny'),
        (['vim_tiny', '--shape', '4', '4'], 'must have sides of 16 pixels'),
        (['vim_tiny', '--shape', '4', '4', '--sweep', '32'], '--shape and --sweep both'),
        (['vim_tiny', '--device', 'abacus'], '--device abacus is none'),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['benchmark', *arguments])
    assert message in capsys.readouterr().err

"""What of a run's log a terminal shows."""

import logging
import warnings

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.run_report import format_duration
from mmvmamba.cli.terminal import TerminalHandler, is_noise, quiet_terminal, to_log_only
from mmvmamba.cli.trackers import TRACKERS, set_trackers
from mmvmamba.engine import Runner
from mmvmamba.engine import runner as runner_module

OURS = runner_module.__file__
THEIRS = '/site-packages/mmengine/runner/runner.py'

# Warnings that were seen in runs of our own configs.
SEEN = (
    '"FileClient" will be deprecated in future. Please use io functions',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    'Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later',
    'Loads checkpoint by local backend from path: x.pth',
    '``build_loss`` would be deprecated soon, please use ``mmseg.registry.MODELS.build()`` ',
    'Default ``avg_non_ignore`` is False, if you would like to ignore the certain label',
    'The prefix is not set in metric class DumpResults.',
    'Gradient accumulative may slightly decrease performance because the model has BatchNorm',
    'Grad strides do not match bucket view strides.',
)


def said(capsys, message, level=logging.INFO, path=THEIRS, has_progress=False, **extra):
    handler = TerminalHandler(has_progress)
    record = logging.LogRecord('mmengine', level, path, 1, message, None, None)
    record.__dict__.update(extra)
    handler.handle(record)
    return capsys.readouterr().out


@pytest.mark.parametrize('message', SEEN)
def test_warnings_that_nobody_can_act_on_are_noise(message, capsys):
    assert is_noise(message)
    assert said(capsys, message, logging.WARNING) == ''


def test_other_warnings_are_shown_once(capsys):
    handler = TerminalHandler()
    for _ in range(2):
        handler.handle(
            logging.LogRecord(
                'mmengine', logging.WARNING, THEIRS, 1, '3 boxes left out', None, None
            )
        )
    assert capsys.readouterr().out == 'warning: 3 boxes left out\n'


@pytest.mark.parametrize(
    ('message', 'shown'),
    [
        ('Epoch(train)  [1][50/60]  lr: 1e-3  eta: 0:00:03  loss: 0.2', True),
        ('Epoch(val) [1][6/6]  accuracy/top1: 50.0', True),
        ('Iter(test) [6/6]  mIoU: 50.0', False),
        ('The best checkpoint with 0.5 mIoU at 4 iter is saved to best.pth.', True),
        ('resumed epoch: 3, iter: 30', True),
        ('\n+---+\n| IoU |', True),
        ('Config:\nmodel = dict()', False),
        ('paramwise_options -- backbone.norm.weight:lr=0.1', False),
        ('Hooks will be executed in the following order:', False),
        ('Exp name: cls_20260101', False),
    ],
)
def test_of_other_projects_figures_are_shown_and_nothing_else(message, shown, capsys):
    assert said(capsys, message) == (f'{message.strip()}\n' if shown else '')


def test_a_progress_line_takes_the_place_of_lines_of_steps(capsys):
    step = 'Epoch(train)  [1][50/60]  lr: 1e-3  eta: 0:00:03  loss: 0.2'
    assert said(capsys, step, has_progress=True) == ''
    assert said(capsys, 'Epoch(val) [1][6/6]  mIoU: 1', has_progress=True) != ''


def test_what_we_say_is_shown_unless_it_is_for_the_log(capsys):
    assert said(capsys, 'trained', path=OURS) == 'trained\n'
    assert said(capsys, 'trained', path=OURS, on_terminal=False) == ''


def test_speaker_of_print_log_is_who_called_it(capsys):
    with quiet_terminal(verbose=False, has_progress=False):
        print_log('not by the package', 'current')
        code = compile("print_log('by the package', 'current')", OURS, 'exec')
        exec(code, dict(print_log=print_log))
    assert capsys.readouterr().out == 'by the package\n'


def test_python_warnings_go_the_same_way(capsys):
    with quiet_terminal(verbose=False, has_progress=False):
        warnings.simplefilter('always')
        for text in (*SEEN, 'the disk is slow', 'the disk is slow'):
            warnings.warn(text, UserWarning, stacklevel=1)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('warning: the disk is slow\n', '')


def test_verbose_leaves_all_as_it_is():
    with quiet_terminal(verbose=True, has_progress=False):
        assert Runner.terminal_handler is None
    with quiet_terminal(verbose=False, has_progress=False):
        assert Runner.terminal_handler is not None
    assert Runner.terminal_handler is None


def test_the_log_gets_what_the_terminal_was_told(tmp_path, capsys):
    logger = MMLogger.get_instance('tables', log_file=str(tmp_path / 'x.log'))
    logger.handlers[0] = TerminalHandler()
    to_log_only(logger, 'a table')
    assert capsys.readouterr().out == ''
    assert 'a table' in (tmp_path / 'x.log').read_text()


@pytest.mark.parametrize(
    ('seconds', 'text'), [(5, '0 min 05 s'), (65.4, '1 min 05 s'), (7260, '2 h 01 min')]
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert format_duration(seconds) == text


def test_trackers_are_added_to_those_of_the_config(monkeypatch):
    monkeypatch.setattr('mmvmamba.cli.trackers.find_spec', lambda name: object())
    cfg = Config(dict(visualizer=dict(type='V', vis_backends=[dict(type='LocalVisBackend')])))
    set_trackers(cfg, ['tensorboard', 'mlflow', 'tensorboard'])
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'TensorboardVisBackend', 'MLflowVisBackend']
    set_trackers(cfg, ['mlflow'])
    assert len(cfg.visualizer.vis_backends) == 3


@pytest.mark.parametrize('name', TRACKERS)
def test_a_tracker_that_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setattr('mmvmamba.cli.trackers.find_spec', lambda name: None)
    with pytest.raises(UserError, match=f'--log-to {name} needs the package .* pip install'):
        set_trackers(Config(), [name])

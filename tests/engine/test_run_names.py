"""Names of runs, by which mmengine keeps their logs and figures."""

import time
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvmamba.cli.training import build_runner

from .strategy_runs import config


@pytest.fixture
def still_clock(monkeypatch):
    """A clock that goes on only while somebody waits."""
    now = [time.time()]
    monkeypatch.setattr(time, 'time', lambda: now[0])
    monkeypatch.setattr(time, 'sleep', lambda seconds: now.append(now.pop() + seconds))


@pytest.mark.parametrize('strategy', [None, 'ddp'])
def test_runs_of_one_process_have_logs_and_figures_of_their_own(strategy, still_clock, tmp_path):
    runners = [
        build_runner(Config(config(tmp_path / name, strategy, log_level='INFO')))
        for name in ('first', 'second')
    ]
    for runner in runners:
        runner.logger.info(f'said in {runner.work_dir}')
        (log,) = Path(runner.work_dir).glob('*/*.log')
        assert log.read_text().count('said in') == 1
        assert f'said in {runner.work_dir}' in log.read_text()
    assert runners[0].message_hub is not runners[1].message_hub

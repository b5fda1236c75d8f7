"""Running others' tests, on tests made here."""

import json
import re

import pytest

from tests.tools.conftest import load_tool

TESTS = """
import pytest
import torch
from mmcv.ops import nms
from mmdet.evaluation import CocoMetric

BOXES = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5]])


def test_passes_with_ours():
    assert len(nms(BOXES, torch.ones(2), 0.5)[1]) == 1


def test_fails_after_ours_was_called():
    assert len(nms(BOXES, torch.ones(2), 0.5)[1]) == 2


def test_fails_without_us():
    assert torch.cuda.is_available()


def test_fails_in_our_metric():
    CocoMetric(metric='nonsense')


def test_uses_our_metric():
    assert CocoMetric.__module__.startswith('mmvmamba')


@pytest.mark.skip(reason='not today')
def test_is_skipped():
    raise RuntimeError
"""


@pytest.fixture(scope='module')
def tool():
    return load_tool('misc/upstream_tests')


@pytest.fixture
def source(tool, tmp_path, monkeypatch):
    for variable in tool.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / 'checkout' / 'tests'
    folder.mkdir(parents=True)
    (folder / 'test_ops.py').write_text(TESTS)
    (folder / 'test_broken.py').write_text('import not_there')
    monkeypatch.setenv('MMCV_SOURCE', str(folder.parent))
    monkeypatch.chdir(tmp_path)
    return folder.parent


@pytest.mark.slow
def test_outcomes_are_sorted_by_whether_ours_was_called(tool, source, tmp_path, capsys):
    report = tmp_path / 'report.json'
    assert tool.main(['--report', str(report)]) == 1
    outcomes = {
        group: {name.rpartition('::')[2] for name in found}
        for group, found in json.loads(report.read_text())['mmcv'].items()
    }
    assert outcomes == {
        'passed': {'test_passes_with_ours', 'test_uses_our_metric'},
        'ours': {'test_fails_after_ours_was_called', 'test_fails_in_our_metric'},
        'others': {'test_fails_without_us', 'tests/test_broken.py'},
        'skipped': {'test_is_skipped'},
    }
    out = capsys.readouterr().out
    assert '| mmcv | 2 | 2 | 2 | 1 |' in out
    assert re.search(r'mmcv .*test_fails_after_ours_was_called: .*called: mmcv\._ext\.nms', out)


def test_without_sources_nothing_is_run(tool, source, monkeypatch, capsys):
    monkeypatch.delenv('MMCV_SOURCE')
    assert tool.main([]) == 0
    assert 'no sources at hand: none of MMCV_SOURCE, ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['mmcls'], "projects must be among .*, got 'mmcls'"),
        (['mmseg'], 'MMSEG_SOURCE must name the folder of the sources of mmseg'),
        (['mmcv', '--tests', 'absent'], 'MMCV_SOURCE must name a folder with absent'),
    ],
)
def test_bad_input_is_named(tool, source, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(arguments)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)

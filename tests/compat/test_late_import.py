"""Actions on modules that are not imported yet."""

import importlib
import sys

import pytest

from mmvmamba.compat.late_import import when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / 'late_one.py').write_text('VALUE = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    yield 'late_one'
    sys.modules.pop('late_one', None)


def test_action_runs_once_the_module_has_been_executed(module):
    seen = []

    def action(loaded):
        seen.append(loaded.VALUE)

    finders = len(sys.meta_path)
    when_imported(module, action)
    when_imported(module, action)
    assert seen == []
    assert len(sys.meta_path) == finders + 1, 'the same is asked for once'
    loaded = importlib.import_module(module)
    assert seen == [1]
    assert len(sys.meta_path) == finders
    assert loaded.__spec__.loader.get_source(module) == 'VALUE = 1\n'


def test_action_runs_at_once_on_a_module_that_is_imported(module):
    seen = []
    loaded = importlib.import_module(module)
    when_imported(module, seen.append)
    assert seen == [loaded]


def test_several_actions_run(module):
    seen = []
    when_imported(module, lambda loaded: seen.append('first'))
    when_imported(module, lambda loaded: seen.append('second'))
    importlib.import_module(module)
    assert sorted(seen) == ['first', 'second']


def test_a_module_that_does_not_exist_is_python_s_own_error(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    when_imported('late_nobody', print)
    with pytest.raises(ModuleNotFoundError, match="No module named 'late_nobody'"):
        importlib.import_module('late_nobody')

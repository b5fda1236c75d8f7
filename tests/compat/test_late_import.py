"""Actions on modules that are not imported yet."""

import builtins
import importlib
import importlib.util
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


def test_asking_whether_a_module_is_there_leaves_the_action_for_its_import(module):
    seen = []
    when_imported(module, lambda loaded: seen.append('first'))
    when_imported(module, lambda loaded: seen.append('second'))
    assert importlib.util.find_spec(module).origin.endswith('late_one.py')
    assert seen == []
    importlib.import_module(module)
    assert sorted(seen) == ['first', 'second']


def test_action_runs_on_a_module_whose_first_import_failed(module, tmp_path):
    (tmp_path / f'{module}.py').write_text('import builtins\nVALUE = builtins.late_value\n')
    seen = []
    when_imported(module, lambda loaded: seen.append(loaded.VALUE))
    with pytest.raises(AttributeError, match='late_value'):
        importlib.import_module(module)
    builtins.late_value = 2
    try:
        importlib.import_module(module)
    finally:
        del builtins.late_value
    assert seen == [2]


def test_a_module_whose_action_fails_is_not_imported_without_it(module):
    finders = len(sys.meta_path)
    errors = [RuntimeError('not yet')]

    def action(loaded):
        if errors:
            raise errors.pop()

    when_imported(module, action)
    with pytest.raises(RuntimeError, match='not yet'):
        importlib.import_module(module)
    assert len(sys.meta_path) == finders + 1
    importlib.import_module(module)
    assert len(sys.meta_path) == finders

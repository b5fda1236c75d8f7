"""The list of licences has what the package needs, and no more."""

from email.message import Message
from importlib import metadata
from types import SimpleNamespace

import pytest

from tests.tools.conftest import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('misc/list_licences')


def distribution(requires=(), **fields):
    message = Message()
    for name, value in fields.items():
        message[name.replace('_', '-')] = value
    return SimpleNamespace(metadata=message, version='1', requires=requires)


@pytest.fixture
def installed(tool, monkeypatch):
    found = {
        'mmvmamba': distribution(['a', 'B_x ; extra == "more"', 'c ; python_version < "3"']),
        'a': distribution(['a2[y]'], Name='a', License_Expression='MIT'),
        'a2': distribution(['b-x; extra == "y"', 'a'], Name='a2'),
        'b-x': distribution(Name='B_x', License='BSD\nlong text'),
    }

    def look_up(name):
        if name not in found:
            raise tool.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(tool.metadata, 'distribution', look_up)
    return found


def test_what_is_needed_is_listed_once(tool, installed, tmp_path, capsys):
    out = tmp_path / 'new' / 'list.md'
    assert tool.main(['--extras', '--out', str(out)]) == 0
    assert out.read_text().splitlines()[2:] == [
        '| a | 1 | MIT |',
        '| a2 | 1 | not stated |',
        '| B_x | 1 | BSD |',
    ]
    assert capsys.readouterr().out == f'3 packages are in {out}\n'


def test_classifiers_say_the_licence(tool):
    stated = distribution(Classifier='License :: OSI Approved :: BSD License', License='long')
    assert tool.licence_of(stated) == 'BSD License'


def test_a_missing_package_is_named(tool, installed, capsys):
    del installed['a2']
    with pytest.raises(SystemExit) as stop:
        tool.main([])
    assert stop.value.code == 2
    assert 'a2 is not installed: its licence is not known' in capsys.readouterr().err


def test_the_real_list(tool):
    names = {found.name for found in metadata.distributions()}
    extra = 'onedl' if 'onedl-mmengine' in names else 'openmmlab'
    engine = {'onedl': 'onedl-mmengine', 'openmmlab': 'mmengine'}[extra]
    text = tool.table((extra,))
    assert '| torch |' in text
    assert f'| {engine} |' in text

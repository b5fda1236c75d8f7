"""The tables of models in the README and in docs/models.md are those of the metafiles."""

import re
import shutil

import pytest

from tests.tools.conftest import ROOT, load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('misc/make_model_tables')


def test_tables_are_up_to_date(tool, capsys):
    status = tool.main(['--check'])
    assert status == 0, f'{capsys.readouterr().out}python tools/misc/make_model_tables.py mends it'


def test_stale_tables_are_told_and_mended(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool, 'family_table', lambda: '| one family |')
    shutil.copy(ROOT / 'README.md', tmp_path)
    (tmp_path / 'docs').mkdir()
    root = ['--root', str(tmp_path)]
    assert tool.main([*root, '--check']) == 1
    assert 'README.md is not up to date' in capsys.readouterr().out
    assert (tmp_path / 'README.md').read_text() == (ROOT / 'README.md').read_text()
    assert not (tmp_path / 'docs/models.md').exists()
    assert tool.main(root) == 0
    begin, end = tool.BEGIN.format('models'), tool.END.format('models')
    assert f'{begin}\n| one family |\n{end}' in (tmp_path / 'README.md').read_text()
    assert (tmp_path / 'docs/models.md').read_text() == (ROOT / 'docs/models.md').read_text()
    assert tool.main([*root, '--check']) == 0


@pytest.mark.parametrize(
    ('text', 'message'),
    [(None, r'there is no .*README\.md'), ('# Title', 'README.md has no lines .*models: tools')],
)
def test_a_folder_without_tables_is_refused(tool, tmp_path, text, message, capsys):
    if text is not None:
        (tmp_path / 'README.md').write_text(text)
    with pytest.raises(SystemExit) as stop:
        tool.main(['--root', str(tmp_path)])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert re.search(message, err)

"""The site has every page and every public name; it is built where its packages are installed."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mmvmamba
from tests.docs.pages import ROOT


def _load_hooks():
    spec = importlib.util.spec_from_file_location('site_hooks', ROOT / 'docs' / 'site_hooks.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = _load_hooks()
FETCHED = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"')


class _Settings(yaml.SafeLoader):
    """Reads mkdocs.yml, of whose tags none matters here."""


def _pages_of(entry):
    if isinstance(entry, str):
        return [entry]
    entries = entry.values() if isinstance(entry, dict) else entry
    return [page for each in entries for page in _pages_of(each)]


def _nav():
    return _pages_of(yaml.load((ROOT / 'mkdocs.yml').read_text(), _Settings)['nav'])


def _made_pages():
    return {*hooks.OUTSIDE, 'commands.md', 'api/mmvmamba.md', *(f'api/{r}.md' for r in hooks.ROOMS)}


def test_the_navigation_has_every_page_once():
    written = {str(path.relative_to(ROOT / 'docs')) for path in (ROOT / 'docs').rglob('*.md')}
    nav = _nav()
    assert len(nav) == len(set(nav))
    assert set(nav) == written | _made_pages(), 'name the page in the nav of mkdocs.yml'


def test_every_public_name_of_mmvmamba_has_a_place():
    ((_, places),) = hooks.public_names('')
    shown = {place.rsplit('.', 1)[1] for place in places}
    assert shown | {'datasets'} == set(mmvmamba.__all__)
    for place in places:
        module, name = place.rsplit('.', 1)
        assert hasattr(importlib.import_module(module), name), place


@pytest.mark.parametrize('room', hooks.ROOMS)
def test_every_public_name_of_a_room_has_a_place(room):
    page = hooks.api_page(room)
    module = importlib.import_module(f'mmvmamba.{room}')
    places = re.findall(r'^(?:::: |## )(\S+)$', page, re.MULTILINE)
    assert {*module.__all__} <= {place.rsplit('.', 1)[1] for place in places}
    shown = re.findall(r'^::: (\S+)$', page, re.MULTILINE)
    assert shown
    for place in shown:
        assert _is_there(*place.rsplit('.', 1)), place


@pytest.mark.parametrize('room', ['', *hooks.ROOMS])
def test_what_builds_the_site_finds_each_name_without_importing_it(room):
    for _, places in hooks.public_names(room):
        for place in places:
            home, name = place.rsplit('.', 1)
            source = Path(importlib.util.find_spec(home).origin).read_text()
            assert name in _bound_by(ast.parse(source)), place


def _bound_by(module):
    """The names that the statements of a module define, import or give a value."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (name.id for name in ast.walk(node) if isinstance(name, ast.Name))


def _is_there(home, name):
    try:
        return hasattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        # An extra, which need not be installed.
        return error.name == 'transformers'


@pytest.mark.parametrize(
    ('name', 'link', 'target'),
    [
        ('models.md', '../configs/cls/x', None),
        ('finetune.md', 'models.md#a', 'models.md#a'),
        ('tutorials/lmdb.md', '../../mmvmamba/datasets/README.md#read', '../lmdb.md#read'),
        ('lmdb.md', '../../docs/reliability.md', 'reliability.md'),
        ('security.md', 'mmvmamba/ops/', 'REPO/tree/main/mmvmamba/ops'),
        ('contributing.md', 'CHANGELOG.md', 'changelog.md'),
        ('models.md', '../configs/toy/cls_vim.py', 'REPO/blob/main/configs/toy/cls_vim.py'),
        ('faq.md', '../README.md', 'index.md'),
        ('faq.md', '#kernels', '#kernels'),
        ('faq.md', 'https://a.b/c.md', 'https://a.b/c.md'),
    ],
)
def test_links_out_of_the_pages_are_mended(name, link, target, caplog):
    text = hooks.relink(f'`[x]({link})` [x]({link})\n```\n[x]({link})\n```', name, 'REPO')
    before, after = text.split('` ')
    assert before == f'`[x]({link})'
    assert after.endswith(f'\n```\n[x]({link})\n```')
    if target is None:
        assert 'which is not there' in caplog.text
    else:
        assert after.startswith(f'[x]({target})')
        assert not caplog.records


@pytest.mark.full
def test_the_site_is_built_without_warnings(tmp_path):
    pytest.importorskip('mkdocs', reason='requirements/docs.txt is not installed')
    pytest.importorskip('mkdocstrings', reason='requirements/docs.txt is not installed')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for room in hooks.ROOMS:
        html = (tmp_path / 'api' / f'{room}.html').read_text()
        for _, places in hooks.public_names(room):
            for place in places:
                assert f'id="{place}"' in html, place
    assert '<math' in (tmp_path / 'selective_scan.html').read_text()
    # Nothing is fetched from elsewhere.
    for page in tmp_path.rglob('*.html'):
        assert not FETCHED.findall(page.read_text()), page

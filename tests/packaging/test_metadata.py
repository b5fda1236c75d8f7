"""What the package says of itself is the same everywhere."""

import ast
import re
from datetime import date
from pathlib import Path

import pytest
import yaml

import mmvmamba

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
SETUP = (ROOT / 'setup.py').read_text()


def _setup_arguments():
    """The arguments of ``setup`` that are literals."""
    call = next(
        node
        for node in ast.walk(ast.parse(SETUP))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup'
    )
    return {each.arg: ast.unparse(each.value) for each in call.keywords}


def test_the_address_is_the_same_everywhere():
    address = CITATION['repository-code']
    assert f"REPOSITORY = '{address}'" in SETUP
    assert f'repository: {address}\n' in (ROOT / 'mkdocs.yml').read_text()
    issues = (ROOT / '.github' / 'ISSUE_TEMPLATE' / 'config.yml').read_text()
    addresses = re.findall(r'url: (https://\S+)/blob/main/(\S+)', issues)
    assert len(addresses) == 2
    for found, page in addresses:
        assert found == address
        assert (ROOT / page).is_file()


def test_version_and_licence_are_the_same_everywhere():
    assert str(CITATION['version']) == mmvmamba.__version__
    dated = re.findall(r'^## (\S+) - (\S+)$', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    days = {version: date.fromisoformat(day) for version, day in dated}
    assert CITATION.get('date-released') == days.get(mmvmamba.__version__)
    assert f"'{CITATION['license']}'" == _setup_arguments()['license']


@pytest.mark.parametrize('name', ['bug.yml', 'feature.yml'])
def test_an_issue_form_has_what_forms_need(name):
    form = yaml.safe_load((ROOT / '.github' / 'ISSUE_TEMPLATE' / name).read_text())
    assert {'name', 'description', 'body'} <= form.keys()
    for part in form['body']:
        is_text = part['type'] == 'markdown'
        assert part['attributes'].keys() >= ({'value'} if is_text else {'label'})
        assert is_text or part['id']


def test_every_extra_has_its_reason():
    """Each is in the table that says what it is for."""
    page = (ROOT / 'docs' / 'get_started.md').read_text()
    table = page[page.index('## Extras') :]
    names = re.findall(r'^# \[(\w+)\]', (ROOT / 'requirements/optional.txt').read_text(), re.M)
    for name in ('openmmlab', 'onedl', 'tests', *names):
        assert f'`{name}`' in table, name


def test_containers_install_the_torch_of_the_checks():
    (pinned,) = re.findall(r'^TORCH := (.+)$', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    for name in ('Dockerfile', 'Dockerfile.cpu'):
        text = (ROOT / 'docker' / name).read_text()
        assert f'pip install --no-cache-dir {pinned}' in text
    # What setup.py reads is not left out of the image.
    kept = set(re.findall(r'^!(.+)$', (ROOT / '.dockerignore').read_text(), re.MULTILINE))
    read = re.findall(r'^include (.+)$', (ROOT / 'MANIFEST.in').read_text(), re.MULTILINE)
    assert {*read[0].split(), 'configs', 'demo', 'mmvmamba', 'requirements', 'setup.py'} <= kept

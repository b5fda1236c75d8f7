"""pre-commit runs the versions that `make lint` and `make typecheck` run."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HOOKS = {'ruff-pre-commit': 'ruff', 'codespell': 'codespell'}


def test_versions_are_those_of_the_requirements():
    lines = (ROOT / 'requirements/dev.txt').read_text().splitlines()
    pinned = dict(line.split('==') for line in lines if '==' in line)
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    revisions = {repo['repo'].rpartition('/')[2]: repo.get('rev') for repo in config['repos']}
    versions = {HOOKS[name]: revisions[name].removeprefix('v') for name in HOOKS}
    assert versions == {name: pinned[name] for name in HOOKS.values()}


def test_mypy_is_that_of_make():
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    (local,) = (repo['hooks'] for repo in config['repos'] if repo['repo'] == 'local')
    assert [(hook['id'], hook['entry']) for hook in local] == [('mypy', 'make typecheck')]

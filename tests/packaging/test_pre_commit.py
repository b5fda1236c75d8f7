"""pre-commit runs the versions that `make lint` and `make typecheck` run."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HOOKS = {'ruff-pre-commit': 'ruff', 'codespell': 'codespell', 'mirrors-mypy': 'mypy'}


def test_versions_are_those_of_the_requirements():
    lines = (ROOT / 'requirements/dev.txt').read_text().splitlines()
    pinned = dict(line.split('==') for line in lines if '==' in line)
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    revisions = {repo['repo'].rpartition('/')[2]: repo['rev'] for repo in config['repos']}
    assert {HOOKS[name]: revisions[name].removeprefix('v') for name in HOOKS} == pinned

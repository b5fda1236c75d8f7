"""What the package needs to know of a family stands in the family's own files."""

import ast
import re
from pathlib import Path

import pytest

import mmvmamba.models  # noqa: F401  registers the backbones
from mmvmamba.checkpoint import FAMILIES
from mmvmamba.models.backbones import BaseBackbone
from mmvmamba.registry import BACKBONES

PACKAGE = Path(__file__).resolve().parents[1] / 'mmvmamba'
# Where a family may be named: its own files, and the one line that imports them.
OWN = (
    *(f'models/backbones/{family}' for family in FAMILIES),
    *(f'checkpoint/{family}.py' for family in FAMILIES),
    'models/adapters/',
    'models/backbones/__init__.py',
    'checkpoint/__init__.py',
    # Who made a database is part of what a message about it says.
    'datasets/lmdb/reader.py',
    # Examples that can be typed name a model.
    'cli/commands/',
    # What a paper compared, its own models and others.
    'cli/benchmark_presets.py',
)


def words_of_families():
    """Names of families and their classes as words; 'vit' is the name of a whole field."""
    classes = {
        name
        for name, cls in BACKBONES.module_dict.items()
        if isinstance(cls, type) and issubclass(cls, BaseBackbone)
    }
    names = {name.lower() for name in (set(FAMILIES) - {'vit'}) | classes}
    return names | {name.replace('_', '') for name in names}


def names_in(path):
    """Every identifier and string of a module but its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        for field in ('id', 'attr', 'name', 'arg', 'module', 'asname'):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and node not in docstrings:
            yield node.value


def families_named(texts):
    wanted = '|'.join(sorted(words_of_families(), key=len, reverse=True))
    # A word ends where letters end: vim_tiny and MODEL.vim name a family, vimeo does not.
    pattern = re.compile(rf'(?<![a-z])(?:{wanted})(?![a-z])')
    return sorted({text for text in texts if pattern.search(text.lower())})


@pytest.mark.parametrize(
    ('code', 'named'),
    [
        ("if info.family == 'mambaout': pass", ['mambaout']),
        ("RULES = {'PlainMamba': 1}", ['PlainMamba']),
        ('def _mambavision(name): pass', ['_mambavision']),
        ('from .plain_mamba import X', ['plain_mamba']),
        ("url = 'https://host/Vim-tiny/x.pth'", ['https://host/Vim-tiny/x.pth']),
        ('"""Vim, in a docstring."""\nx = vimeo', []),
    ],
)
def test_names_of_families_are_found(code, named, tmp_path):
    (tmp_path / 'module.py').write_text(code)
    assert families_named(names_in(tmp_path / 'module.py')) == named


def test_no_other_file_names_a_family():
    files = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob('*.py')}
    others = {name: path for name, path in files.items() if not name.startswith(OWN)}
    assert len(others) > 100
    found = {name: families_named([name, *names_in(path)]) for name, path in others.items()}
    assert not {name: texts for name, texts in found.items() if texts}

"""Imports point one way: ops <- layers <- models <- engine, apis. Read from the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmvmamba'

# Folder -> what no file in it may import, at any place. `ops` takes tensors and knows torch only.
UPWARD = ('mmvmamba.models', 'mmvmamba.engine', 'mmvmamba.apis', 'mmvmamba.datasets')
FORBIDDEN = {
    'ops': (
        'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'einops', 'transformers',
        'mmvmamba.layers', 'mmvmamba.registry', 'mmvmamba.compat', *UPWARD,
    ),
    'layers': ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'einops', *UPWARD),
    'models/backbones': (
        'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'einops', 'mmvmamba.engine',
        'mmvmamba.apis', 'mmvmamba.datasets',
    ),
}  # fmt: skip


def imports(path):
    """Absolute names of what a file imports."""
    package = path.relative_to(PACKAGE.parent).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join((*base, *((node.module,) if node.module else ())))
            yield module
            yield from (f'{module}.{alias.name}' for alias in node.names)


def within(name, package):
    return name == package or name.startswith(f'{package}.')


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_imports_point_one_way(folder):
    files = sorted((PACKAGE / folder).rglob('*.py'))
    assert files
    wrong = [
        f'{path.relative_to(PACKAGE)}: {name}'
        for path in files
        for name in imports(path)
        for package in FORBIDDEN[folder]
        if within(name, package)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ('library', 'allowed'),
    [
        ('numba', {'numba_kernels.py', 'lanes.py', 'team.py'}),
        ('llvmlite', {'lanes.py', 'team.py'}),
        ('mamba_ssm', set()),
    ],
)
def test_accelerators_are_imported_in_their_own_files(library, allowed):
    users = {
        path.name
        for path in PACKAGE.rglob('*.py')
        if any(within(name, library) for name in imports(path))
    }
    assert users == allowed

"""Imports point one way, from each room to those before it. Read from the source."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmvmamba'

# A room imports from the rooms before it alone, and none from another of its line. A module of the
# package itself is a room too; '' is the package's own file.
ROOMS = (
    ('version', 'registry', 'files', 'cpus', 'ops'),
    ('compat', 'layers', 'testing', 'fake_gpu'),
    ('models', 'datasets'),
    ('checkpoint', 'visualization'),
    ('engine',),
    ('apis',),
    ('hub', 'deploy'),
    ('cli',),
    ('collect_env', 'doctor', '__main__', ''),
)
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
# Folder -> libraries that no file in it may import, at any place. `ops` takes tensors and knows
# torch only.
TOOLBOXES = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'einops', 'transformers')
FORBIDDEN = {
    'ops': ('mmengine', 'mmvmamba.registry', *TOOLBOXES),
    'layers': TOOLBOXES,
    'models/backbones': TOOLBOXES,
}


def room_of(module):
    """The room of a module of the package, named from the root: None for the package's version."""
    first = module.split('.')[1]
    return None if first == '__version__' else first


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


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts).removesuffix('.__init__')


def within(name, package):
    return name == package or name.startswith(f'{package}.')


def test_every_room_has_its_place():
    paths = [path for path in PACKAGE.iterdir() if path.suffix == '.py' or path.is_dir()]
    names = {path.stem for path in paths if path.suffix == '.py' or any(path.glob('*.py'))}
    assert names - {'__init__'} == set(RANKS) - {''}


@pytest.mark.parametrize('room', RANKS)
def test_a_room_imports_from_those_before_it(room):
    files = sorted((PACKAGE / room).rglob('*.py')) if room else [PACKAGE / '__init__.py']
    wrong = [
        f'{path.relative_to(PACKAGE)}: {name}'
        for path in files or [PACKAGE / f'{room}.py']
        for name in imports(path)
        if name.startswith('mmvmamba.') and room_of(name) not in (None, room)
        if RANKS[room_of(name)] >= RANKS[room]
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    modules = {name_of(path): path for path in PACKAGE.rglob('*.py')}
    graph = {
        # `from . import x` names the package that the module is in, too.
        module: {name for name in imports(path) if name in modules and not within(module, name)}
        for module, path in modules.items()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_libraries_stay_out(folder):
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
        ('numba', {'instruction_set.py', 'kernels.py', 'lanes.py', 'team.py'}),
        ('llvmlite', {'instruction_set.py', 'lanes.py', 'team.py'}),
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

"""Nothing in our code turns data into code: no unpickling, no ``eval``, no shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ('mmvmamba', 'tools', 'demo', 'benchmarks', 'configs')

# Modules whose loaders run what they read.
UNPICKLERS = {'pickle', '_pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
UNPICKLING = {'load', 'loads', 'Unpickler', '_Unpickler', 'open'}
CALLS = {
    'eval', 'exec', 'compile', '__import__', 'builtins.eval', 'builtins.exec',
    'os.system', 'os.popen', 'pty.spawn', 'subprocess.getoutput', 'subprocess.getstatusoutput',
    'yaml.load', 'yaml.load_all', 'yaml.full_load', 'yaml.unsafe_load',
    'torch.jit.load', 'torch.hub.load', 'torch.hub.load_state_dict_from_url',
    'mmengine.load', 'mmengine.fileio.load', 'pandas.read_pickle', 'runpy.run_path',
}  # fmt: skip
EXCEPTIONS = {
    ('mmvmamba/apis/metafiles.py', 'yaml.load'): (
        'our own metafiles, by the safe loader in C, which yaml.safe_load does not take'
    ),
    ('setup.py', 'exec'): 'reads the version out of our own version.py without importing torch',
    ('mmvmamba/deploy/formats.py', 'torch.jit.load'): (
        'runs the file that was just exported, to compare it with its model'
    ),
    ('mmvmamba/checkpoint/torch_file.py', 'torch.load without weights_only=True'): (
        'the one place that reads checkpoints; weights_only is off if the user says allow_pickle'
    ),
}


def findings(source: str) -> list[str]:
    """What a module does that its data could misuse."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [found for call in calls for found in _judge(call, names)]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that imports give, and what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.asname or name.name.split('.')[0], name.name
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield name.asname or name.name, f'{node.module}.{name.name}'


def _judge(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    first, _, rest = _dotted(call.func).partition('.')
    called = names.get(first, first) + (f'.{rest}' if rest else '')
    module, _, function = called.rpartition('.')
    if called in CALLS or (module in UNPICKLERS and function in UNPICKLING):
        yield called
    if called in ('torch.load', 'torch.serialization.load') and not _is(call, 'weights_only', True):
        yield 'torch.load without weights_only=True'
    if not _is(call, 'shell', False):
        yield 'shell=True'
    if called == 'numpy.load' and not _is(call, 'allow_pickle', False):
        yield 'numpy.load with allow_pickle'


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f'{_dotted(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


def _is(call: ast.Call, option: str, wanted: bool) -> bool:
    """Whether an option, False where it is not given, is this constant."""
    given = next((word.value for word in call.keywords if word.arg == option), ast.Constant(False))
    return isinstance(given, ast.Constant) and given.value is wanted


def our_files() -> list[Path]:
    return [
        REPOSITORY / 'setup.py',
        *(path for room in ROOMS for path in sorted((REPOSITORY / room).rglob('*.py'))),
    ]


def test_no_module_turns_data_into_code():
    found = {
        (path.relative_to(REPOSITORY).as_posix(), what)
        for path in our_files()
        for what in findings(path.read_text(encoding='utf-8'))
    }
    assert found == set(EXCEPTIONS)


def test_every_room_is_searched():
    searched = {path.relative_to(REPOSITORY).parts[0] for path in our_files()}
    assert searched == {'setup.py', *ROOMS}


def test_no_shell_script_evaluates_text():
    scripts = sorted(REPOSITORY.glob('tools/**/*.sh'))
    assert scripts
    lines = [line for path in scripts for line in path.read_text().splitlines()]
    assert [line for line in lines if line.strip().startswith(('eval ', 'source ', '. '))] == []


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('import pickle\npickle.loads(data)', 'pickle.loads'),
        ('import pickle as p\np.Unpickler(file).load()', 'pickle.Unpickler'),
        ('from pickle import load as read\nread(file)', 'pickle.load'),
        ('import joblib\njoblib.load(path)', 'joblib.load'),
        ('eval(text)', 'eval'),
        ('exec(text)', 'exec'),
        ('import os\nos.system(text)', 'os.system'),
        ('import subprocess\nsubprocess.run(text, shell=True)', 'shell=True'),
        ('import yaml\nyaml.load(file)', 'yaml.load'),
        ('import torch\ntorch.load(path)', 'torch.load without weights_only=True'),
        ('from torch import load\nload(f, weights_only=x)', 'torch.load without weights_only=True'),
        ('import numpy as np\nnp.load(path, allow_pickle=True)', 'numpy.load with allow_pickle'),
        ('from mmengine.fileio import load\nload(path)', 'mmengine.fileio.load'),
    ],
)
def test_what_is_forbidden_is_found(source, expected):
    assert findings(source) == [expected]


@pytest.mark.parametrize(
    'source',
    [
        'model.eval()',
        'import torch\ntorch.load(path, weights_only=True)',
        'import numpy as np\nnp.load(path)',
        'import yaml\nyaml.safe_load(file)',
        'import json\njson.load(file)',
        'import re\nre.compile(text)',
        'import pickle\npickle.dumps(data)',
    ],
)
def test_what_is_harmless_is_not_found(source):
    assert findings(source) == []

"""Every block of code on a page compiles, and calls what is there the way it is called.

Most pages are walked as well: ``test_walks.py``.
"""

import ast
import importlib
import re
import subprocess

import pytest

import mmvmamba
from mmvmamba.cli.main import parse_args
from tests.docs.pages import COMMAND, FENCE, PAGES, ROOT, blocks_in, commands_in, own_text

# Programs of tools/ that are one of the command's commands.
TOOLS = {
    'tools/train.py': 'train',
    'tools/test.py': 'test',
    'tools/validate.py': 'validate',
    'tools/misc/check_dataset.py': 'data check',
    'tools/dataset_converters/create_lmdb_dataset.py': 'data lmdb',
    'tools/dataset_converters/make_toy_data.py': 'data toy',
    'tools/model_converters/convert_checkpoint.py': 'convert',
}
LAUNCHERS = {'tools/dist_train.sh': 'train', 'tools/dist_test.sh': 'test'}
# What a block shows beside shell and Python.
OTHERS = {'', 'text', 'yaml', 'json'}
PLACES = r'[\w./-]*configs/[\w./-]+\.py'
MADE = re.compile(r'.*/my_|configs/.*<')
INLINE = re.compile(r'`((?:mmvmamba [a-z]|python tools/|tools/dist_)[^`\n]*)`')
INDENTED = re.compile(r'^    (?:\$ |mmvmamba |python |pip |import ).*', re.MULTILINE)
ids = {'ids': lambda page: str(page.relative_to(ROOT))}


def reading_of(words):
    """The command and its arguments, if they can be read here; None for other programs."""
    program, *rest = words
    if program == 'mmvmamba' and rest and rest[0] not in ('COMMAND', '--help', '--version'):
        length = 2 if rest[0] == 'data' else 1
        return ' '.join(rest[:length]), rest[length:]
    if program.startswith('python') and rest and rest[0] in TOOLS:
        return TOOLS[rest[0]], rest[1:]
    if program in LAUNCHERS:
        # The number of processes stands behind the config, or behind the checkpoint.
        place = 1 if LAUNCHERS[program] == 'train' else 2
        return LAUNCHERS[program], [*rest[:place], *rest[place + 1 :]]
    return None


def faults_of(words):
    """What is wrong with a command, as a list of sentences."""
    faults = [
        f'there is no {path}'
        for word in words
        for path in re.findall(PLACES, word)
        if not MADE.match(path) and not (ROOT / path).is_file()
    ]
    if words[0] == 'make':
        targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        faults += [
            f'make has no target {w}' for w in words[1:] if '=' not in w and w not in targets
        ]
    reading = reading_of(words)
    if reading is not None and '--help' not in words:
        try:
            parse_args(*reading)
        except (SystemExit, ModuleNotFoundError):
            faults.append('the command cannot be read')
    return faults


def missing_names(tree):
    """Names of our modules that a piece of Python asks for and that are not there."""
    wanted = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'mmvmamba':
            wanted += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') == 'mmvmamba':
            wanted.append(('mmvmamba', node.attr))
    return [f'{module}.{name}' for module, name in wanted if not _is_there(module, name)]


def _is_there(module, name):
    if module == 'mmvmamba' and name in mmvmamba.__all__:
        return True
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.util.find_spec(f'{module}.{name}')
        )
    except ModuleNotFoundError as error:
        # An optional package of somebody else's may be absent; a module of ours may not.
        return not (error.name or '').startswith('mmvmamba')


def test_blocks_commands_and_names_are_found():
    text = (
        'a\n<!-- walk: skip, so -->\n```bash\nX=1 mmvmamba list a | head && make b > c  # d\n```\n'
    )
    (block,) = blocks_in(text)
    assert (block.language, block.walk, block.line) == ('bash', 'skip, so', 4)
    assert commands_in(block.text) == [['mmvmamba', 'list', 'a'], ['head'], ['make', 'b']]
    loop = 'for s in a b; do\n  OMP=1 python \\\n    x.py "$(cat f)"\ndone'
    assert commands_in(loop) == [['python', 'x.py', 'OUTPUT']]
    tree = ast.parse(
        'import mmvmamba\nmmvmamba.list_models\nmmvmamba.lost\nfrom mmvmamba.ops import b'
    )
    assert sorted(missing_names(tree)) == ['mmvmamba.lost', 'mmvmamba.ops.b']


@pytest.mark.parametrize(
    ('words', 'fault'),
    [
        ('mmvmamba train configs/toy/cls_vim.py --gpus 8', 'cannot be read'),
        ('python tools/test.py configs/toy/cls_vim.py', 'cannot be read'),
        ('tools/dist_train.sh configs/toy/cls_vim.py 8 --evil', 'cannot be read'),
        ('mmvmamba lost', 'cannot be read'),
        ('python demo/image_demo.py a.jpg configs/det/lost.py', 'there is no configs/det/lost.py'),
        ('make lost', 'no target lost'),
    ],
)
def test_a_wrong_command_is_found(words, fault):
    assert any(fault in each for each in faults_of(words.split()))


@pytest.mark.parametrize('page', PAGES, **ids)
def test_blocks_compile(page):
    text = page.read_text()
    # Code that is indented only says no language.
    faults = re.findall(
        r'^    (?:\$ |mmvmamba |python |pip |import ).*', FENCE.sub('', text), re.MULTILINE
    )
    for block in blocks_in(text):
        where = f'{page.relative_to(ROOT)}:{block.line}'
        if block.language == 'python':
            tree = compile(block.text, where, 'exec', ast.PyCF_ONLY_AST)
            faults += [f'{where}: there is no {name}' for name in missing_names(tree)]
        elif block.language == 'bash':
            checked = subprocess.run(
                ['bash', '-n'], input=block.text, capture_output=True, text=True, check=False
            )
            faults += [f'{where}: {checked.stderr.strip()}'] * bool(checked.returncode)
            for words in commands_in(block.text):
                faults += [f'{where}: {" ".join(words)}: {fault}' for fault in faults_of(words)]
        elif block.language not in OTHERS:
            faults.append(f'{where}: nobody checks {block.language!r}')
        elif COMMAND.search(block.text) and block.language != 'text':
            faults.append(f'{where}: commands in a block that does not say bash')
    assert not faults


@pytest.mark.parametrize('page', PAGES, **ids)
def test_commands_in_a_line_can_be_read(page):
    text = FENCE.sub('', own_text(page))
    # A command that leaves something out, or names what it is about alone, is no command line.
    lines = [line for line in INLINE.findall(text) if not re.search(r'…|\.\.\.|<|\*', line)]
    faults = []
    for line in lines:
        for words in commands_in(line):
            if reading_of(words) is None or reading_of(words)[1]:
                faults += [f'{line}: {fault}' for fault in faults_of(words)]
    assert not faults

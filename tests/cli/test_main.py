"""What the command ``mmvmamba`` can do, its help, its exit codes. Nothing is trained or built."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmvmamba.cli import main as module
from mmvmamba.cli.commands import COMMANDS
from mmvmamba.cli.commands.data import lmdb, toy
from mmvmamba.cli.commands.data.check import SPLITS
from mmvmamba.cli.dataset_checks import SPLITS as DATA_SPLITS
from mmvmamba.datasets.lmdb.sources import LAYOUTS
from mmvmamba.datasets.toy import TOY_DATASETS

REPOSITORY = Path(__file__).resolve().parents[2]
SCREEN = 40
# What an import finds where it is not installed.
HIDE_MMENGINE = "import sys\nsys.modules['mmengine'] = None\n"


def parsers(parser):
    """A parser and all below it, by how they are called."""
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in dict.fromkeys(action.choices.values()):
                yield from parsers(child)


PARSERS = dict(parsers(module.build_parser()))


@pytest.fixture
def run(capsys):
    """Runs the command in this process; gives its exit code and what it printed."""

    def call(*arguments):
        try:
            code = module.main([str(item) for item in arguments])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize('prog', PARSERS)
def test_help_fits_a_screen(prog, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    text = PARSERS[prog].format_help()
    assert len(text.splitlines()) <= SCREEN
    assert text.startswith(f'usage: {prog} ')
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize('prog', [prog for prog in PARSERS if prog.count(' ') == 1])
def test_help_has_an_example_that_can_be_typed(prog):
    text = PARSERS[prog].format_help()
    examples = text.partition('example:\n')[2].splitlines()
    assert examples and all(
        line.strip().startswith(f'{prog} ') or line.strip() == prog for line in examples
    )


def test_help_names_every_command_and_exit_code(run):
    code, text, _ = run('--help')
    assert code == 0
    for name in COMMANDS:
        assert f'\n    {name}' in text
    for exit_code in (0, 1, 2, 130, 143):
        assert f'\n  {exit_code} ' in text


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--help'], 'usage: mmvmamba COMMAND'),
        (['list', 'vim*'], 'vim_small_plus'),
        (['info', 'vim_tiny'], '7,148,008'),
        (['completion', 'bash'], 'vim_small_plus'),
    ],
)
def test_what_only_names_things_needs_neither_torch_nor_mmengine(words, said):
    code = HIDE_MMENGINE + (
        f"sys.argv = ['mmvmamba', *{words}]\n"
        'import atexit\n'
        "atexit.register(lambda: print('torch' in sys.modules, 'numpy' in sys.modules))\n"
        'from mmvmamba.cli.main import main\n'
        'main()'
    )
    process = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert said in process.stdout
    assert process.stdout.endswith('False False\n')


def test_a_command_without_mmengine_is_one_sentence():
    code = HIDE_MMENGINE + (
        "sys.argv = ['mmvmamba', 'flops', 'vim_tiny']\n"
        'from mmvmamba.cli.main import main\n'
        'sys.exit(main())'
    )
    process = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 2
    assert process.stderr.count('\n') == 1
    assert 'mmengine is not installed; add it with: pip install "mmvmamba[' in process.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((), 'the following arguments are required: COMMAND'),
        (('trian',), "invalid choice: 'trian'"),
        (('info', 'vim_tini'), "there is no model 'vim_tini' (mmvmamba list shows all); did you"),
        (('list', 'resnet'), "no model has 'resnet' in its name"),
        (('list', '--task', 'pose'), "invalid choice: 'pose'"),
        (('data', 'lmdb', 'info', 'gone.lmdb'), 'gone.lmdb'),
        (('train', 'gone.py'), 'config file gone.py does not exist'),
        (('test', 'a.py', 'b.pth', '--show-limit', '3'), '--show-limit needs --show-dir DIR'),
        (('convert', 'gone.pth', 'x.pth'), 'gone.pth'),
    ],
    ids=lambda value: '-'.join(value) if isinstance(value, tuple) else '',
)
def test_bad_input_is_code_2_and_one_message(run, arguments, message):
    code, output, error = run(*arguments)
    assert code == 2
    assert output == ''
    assert message in error
    assert 'Traceback' not in error
    assert len([line for line in error.splitlines() if 'error:' in line]) == 1


def test_list_is_a_table(run):
    code, text, _ = run('list', 'vim*', '--task', 'classification')
    head, *rows, _, end = text.splitlines()
    assert code == 0
    assert head.split() == ['name', 'task', 'parameters', 'published', 'weights']
    assert '  '.join(rows[0].split()[:4]) == 'vim_tiny  classification  7.1  M'
    assert rows[0].endswith('  76.1 Top 1 Accuracy  Apache-2.0')
    assert all(row.startswith('vim_') for row in rows)
    assert end.startswith(f'{len(rows)} models')


def test_list_as_json_has_figures_and_addresses(run):
    _, text, _ = run('list', 'l1_maskrcnn', '--json')
    (entry,) = json.loads(text)
    assert entry['published'] == {'COCO box AP': 44.1, 'COCO mask AP': 39.1}
    assert entry['parameters'] == 31212128
    assert entry['weights'].startswith('https://')
    assert Path(entry['config']).is_file()


def test_list_names_all_models_of_the_library(run):
    import mmvmamba

    _, text, _ = run('list', '--json')
    assert sorted(entry['name'] for entry in json.loads(text)) == sorted(mmvmamba.list_models())


@pytest.mark.parametrize('name', ['plain_mamba_l1', 'PlainMamba-L1', 'plain-mamba-l1'])
def test_info_knows_official_names(run, name):
    code, text, _ = run('info', name)
    values = dict(line.split('  ', 1) for line in text.splitlines())
    assert code == 0
    assert values['name'].strip() == 'plain_mamba_l1'
    assert values['parameters'].strip() == '7,551,656'
    assert values['published ImageNet-1k Top 1 Accuracy'].strip() == '77.9'
    assert values['licence of weights'].strip() == 'Apache-2.0'


def test_info_of_a_model_that_is_in_no_metafile(run):
    code, text, _ = run('info', 'vim_t_maskrcnn_1x')
    assert code == 0
    assert 'none published' in text and '--weights FILE' in text


def test_env_is_the_report(run):
    code, text, _ = run('env')
    assert code == 0 and text.startswith('System\n') and 'OpenMMLab' in text


def test_a_reader_that_has_enough_is_no_error():
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmvmamba', 'list'],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    _, error = process.communicate()
    assert (process.returncode, error) == (141, '')


def test_what_is_listed_for_help_is_what_the_library_has():
    assert tuple(TOY_DATASETS) == toy.TOY_DATASETS
    assert lmdb.LAYOUTS == LAYOUTS
    assert SPLITS == DATA_SPLITS

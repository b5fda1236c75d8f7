"""The scripts that make shells complete."""

import shutil
import subprocess

import pytest

from mmvmamba.cli.completion import completion_script

# What bash does as TAB is pressed behind the words.
PRESS = """
{script}
COMP_WORDS=({words}) COMP_CWORD={last} COMP_LINE='{words}' COMP_POINT={point}
_shtab_mmvmamba
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope='module')
def script():
    return completion_script('bash')


@pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')
@pytest.mark.parametrize(
    ('words', 'offered'),
    [
        (['mmvmamba', 'pre'], ['predict']),
        (['mmvmamba', 'data', 'l'], ['lmdb']),
        (['mmvmamba', 'train', '--work'], ['--work-dir']),
        (['mmvmamba', 'predict', 'a.png', '--model', 'mambaout_fem'], ['mambaout_femto']),
        (['mmvmamba', 'info', 'l1_retina'], ['l1_retinanet_1x']),
        (['mmvmamba', 'list', '--task', 'segm'], ['segmentation']),
    ],
    ids=lambda value: '-'.join(value),
)
def test_bash_completes(script, words, offered):
    line = ' '.join(words)
    text = PRESS.format(script=script, words=line, last=len(words) - 1, point=len(line))
    process = subprocess.run(['bash', '-c', text], capture_output=True, text=True)
    assert set(offered) <= set(process.stdout.split()), process.stderr
    assert all(answer.startswith(words[-1]) for answer in process.stdout.split())


@pytest.mark.parametrize('shell', ['zsh', 'tcsh'])
def test_other_shells_have_scripts_too(shell):
    text = completion_script(shell)
    assert 'predict' in text and 'mambaout_femto' in text

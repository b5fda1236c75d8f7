"""The tutorials, walked as a new user would: block by block, in a fresh copy of the sources."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvmamba.apis import find_model
from tests.docs.pages import ROOT, blocks_in

pytestmark = pytest.mark.full

# Those that train take minutes.
WALKS = [
    'finetune.md',
    'finetune_detection.md',
    'finetune_segmentation.md',
    'tutorials/classification.md',
    'tutorials/configs.md',
    'tutorials/detection.md',
    'tutorials/lmdb.md',
    'tutorials/segmentation.md',
    'migration/mambaout.md',
    'scan.md',
]
SHIMS = {'mmvmamba': '-m mmvmamba', 'python': ''}


class Walk:
    """A folder with a copy of the sources in which the blocks of a page are run in turn."""

    def __init__(self, folder, weights):
        self.root = folder / 'mmvmamba-sources'
        files = subprocess.run(
            ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, files.split('\0')):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.root / name)
        programs = folder / 'bin'
        programs.mkdir()
        for name, arguments in SHIMS.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            (programs / name).chmod(0o755)
        self.env = {
            **os.environ,
            'PATH': f'{programs}{os.pathsep}{os.environ["PATH"]}',
            'PYTHONPATH': str(self.root),
            'TORCH_HOME': str(weights),
            'HF_HUB_OFFLINE': '1',
        }

    def take(self, block):
        """Does what a reader does with a block. Returns why it failed, or None."""
        kind, _, target = block.walk.partition(' ')
        if kind == 'skip,':
            return None
        if kind == 'write':
            (self.root / target).write_text(block.text)
        elif kind == 'edit':
            self.edit(self.root / target, block.text)
        elif block.language in ('bash', 'python'):
            return self.run(block, must_fail=kind == 'fails')
        return None

    def edit(self, path, text):
        """Replaces the lines of a file that give other values to the same names."""
        lines = path.read_text()
        for new, name in re.findall(r'^((\w+) = .*)$', text, re.MULTILINE):
            pattern = re.compile(rf'^{name} = .*$', re.MULTILINE)
            lines, found = pattern.subn(lambda _, new=new: new, lines)
            assert found == 1, f'{path} has {found} lines that begin with {name!r}'
        path.write_text(lines)

    def run(self, block, must_fail):
        program = {'bash': ['bash', '-euo', 'pipefail', '-c'], 'python': ['python', '-c']}
        command = [shutil.which(program[block.language][0], path=self.env['PATH'])]
        done = subprocess.run(
            [*command, *program[block.language][1:], block.text],
            cwd=self.root, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if (done.returncode != 0) == must_fail:
            return None
        output = (done.stdout + done.stderr)[-3000:]
        return f'line {block.line}, exit code {done.returncode}:\n{block.text}\n{output}'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A cache of downloads with what the pages start from: official names, random numbers."""
    folder = tmp_path_factory.mktemp('torch')
    row = find_model('mambaout_femto')
    path = folder / 'hub' / 'checkpoints' / 'mmvmamba' / row.weights.partition('://')[2]
    path.parent.mkdir(parents=True)
    model = pytest.importorskip('timm').create_model('mambaout_femto')
    torch.save(model.state_dict(), path)
    return folder


@pytest.mark.parametrize('page', WALKS)
def test_a_page_can_be_walked(page, weights, tmp_path):
    walk = Walk(tmp_path, weights)
    for block in blocks_in((ROOT / 'docs' / page).read_text()):
        failure = walk.take(block)
        assert failure is None, f'docs/{page}: {failure}'


def test_every_tutorial_is_walked():
    docs = ROOT / 'docs'
    tutorials = (*docs.glob('tutorials/*.md'), *docs.glob('finetune*.md'))
    assert {str(page.relative_to(docs)) for page in tutorials} <= set(WALKS)


def test_a_walk_sees_what_fails(weights, tmp_path):
    walk = Walk(tmp_path, weights)
    text = (
        '```bash\ntrue\n```\n```python\nassert 1 == 2\n```\n'
        '<!-- walk: fails -->\n```bash\nfalse\n```\n'
        '<!-- walk: fails -->\n```bash\ntrue\n```\n<!-- walk: skip, no -->\n```bash\nfalse\n```\n'
        '```bash\nfalse | cat\n```\n<!-- walk: write a.py -->\n```python\nx = 1\ny = 2\n```\n'
        '<!-- walk: edit a.py -->\n```python\ny = 3\n```\n```bash\ngrep "y = 3" a.py\n```\n'
    )
    failures = [walk.take(block) is not None for block in blocks_in(text)]
    assert failures == [False, True, False, True, False, True, False, False, False]
    assert Path(walk.root, 'a.py').read_text() == 'x = 1\ny = 3\n'

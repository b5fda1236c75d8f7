"""Pages, walked as a new user would: block by block, in a fresh copy of the sources."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.at_hand import put, put_downloads
from tests.docs.pages import PAGES, ROOT, blocks_in

# Each page with what its reader has at hand (``at_hand.py``). Those that train take minutes.
WALKS = {
    'README.md': ['image.jpg'],
    'docs/add_a_backbone.md': [],
    'docs/deployment.md': ['image.jpg', 'mambaout_femto.pth'],
    'docs/finetune.md': [],
    'docs/finetune_detection.md': [],
    'docs/finetune_segmentation.md': [],
    'docs/get_started.md': ['photo.jpg'],
    'docs/huggingface.md': [],
    'docs/inference.md': [
        'street.jpg', 'cat.jpg', 'image.jpg', 'drive.mp4', 'photos/a/1.jpg', 'more/deep/2.png',
        'l1_1x.pth', 'l1_upernet.pth', 'work_dirs/l1_maskrcnn_1x/epoch_12.pth',
    ],
    'docs/migration/mambaout.md': [],
    'docs/migration/vim.md': ['photo.jpg'],
    'docs/scan.md': [],
    'docs/token_mixing.md': [],
    'docs/tutorials/classification.md': ['cat.jpg'],
    'docs/tutorials/configs.md': [],
    'docs/tutorials/detection.md': [],
    'docs/tutorials/lmdb.md': [],
    'docs/tutorials/segmentation.md': [],
}  # fmt: skip
NOT_WALKED = {
    'docs/benchmarks/backbones.md': 'measures for hours',
    'docs/benchmarks/detection.md': 'measures for an hour',
    'docs/benchmarks/gpu.md': 'wants a GPU',
    'docs/benchmarks/gpu_host.md': 'wants a GPU',
    'docs/benchmarks/gpu_static.md': 'compiles for GPUs for an hour',
    'docs/benchmarks/segmentation.md': 'measures for hours',
    'docs/benchmarks/selective_scan.md': 'measures for an hour',
    'docs/benchmarks/shares.md': 'measures for an hour',
    'docs/migration/plain_mamba.md': 'wants COCO',
    'docs/reliability.md': 'runs tests, for hours',
    'docs/scaling.md': 'wants Ray and a database; tests/apis/test_batch_prediction.py has both',
    'docs/web.md': 'serves a page until it is stopped; tests/cli/test_web_pages.py uses it',
    'mmvmamba/datasets/README.md': 'wants ImageNet and COCO',
}
OFFICIAL = ('mambaout_femto', 'vim_tiny', 'l1_maskrcnn_1x', 'l1_upernet')
SHIMS = {'mmvmamba': '-m mmvmamba', 'python': ''}


class Walk:
    """A folder with a copy of the sources in which the blocks of a page are run in turn."""

    def __init__(self, folder, downloads):
        self.output = ''
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
            'TORCH_HOME': str(downloads / 'torch'),
            'HF_HUB_CACHE': str(downloads / 'hub'),
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
        elif kind == 'shown':
            return self.compare(block)
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

    def compare(self, block):
        """Looks for the lines of a block in what the last command put out."""
        put_out = {' '.join(line.split()) for line in self.output.splitlines()}
        lost = [line for line in block.text.splitlines() if ' '.join(line.split()) not in put_out]
        return f'line {block.line}: not put out: {lost}\n{self.output}' if lost else None

    def run(self, block, must_fail):
        program = {'bash': ['bash', '-euo', 'pipefail', '-c'], 'python': ['python', '-c']}
        command = [shutil.which(program[block.language][0], path=self.env['PATH'])]
        done = subprocess.run(
            [*command, *program[block.language][1:], block.text],
            cwd=self.root, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.output = done.stdout + done.stderr
        if (done.returncode != 0) == must_fail:
            return None
        end = self.output[-3000:]
        return f'line {block.line}, exit code {done.returncode}:\n{block.text}\n{end}'


@pytest.fixture(scope='module')
def downloads(tmp_path_factory):
    """The caches of downloads with what the pages start from: official names, random numbers."""
    folder = tmp_path_factory.mktemp('downloads')
    put_downloads(folder / 'torch', folder / 'hub', OFFICIAL)
    return folder


@pytest.mark.full
@pytest.mark.parametrize('page', WALKS)
def test_a_page_can_be_walked(page, downloads, tmp_path):
    walk = Walk(tmp_path, downloads)
    for name in WALKS[page]:
        put(walk.root / name, name)
    for block in blocks_in((ROOT / page).read_text()):
        failure = walk.take(block)
        assert failure is None, f'{page}: {failure}'


def test_every_page_with_code_is_walked_or_says_why_not():
    with_code = {
        str(page.relative_to(ROOT))
        for page in PAGES
        if any(block.language in ('bash', 'python') for block in blocks_in(page.read_text()))
    }
    assert with_code == {*WALKS, *NOT_WALKED}
    assert not WALKS.keys() & NOT_WALKED


def test_no_walk_skips_everything():
    for page in WALKS:
        blocks = [
            b for b in blocks_in((ROOT / page).read_text()) if b.language in ('bash', 'python')
        ]
        assert not all(block.walk.startswith('skip,') for block in blocks), page


def test_a_walk_sees_what_fails(tmp_path):
    walk = Walk(tmp_path, tmp_path)
    text = (
        '```bash\ntrue\n```\n```python\nassert 1 == 2\n```\n'
        '<!-- walk: fails -->\n```bash\nfalse\n```\n'
        '<!-- walk: fails -->\n```bash\ntrue\n```\n<!-- walk: skip, no -->\n```bash\nfalse\n```\n'
        '```bash\nfalse | cat\n```\n<!-- walk: write a.py -->\n```python\nx = 1\ny = 2\n```\n'
        '<!-- walk: edit a.py -->\n```python\ny = 3\n```\n```bash\ngrep "y = 3" a.py\n```\n'
        '<!-- walk: shown -->\n```text\ny  = 3\n```\n<!-- walk: shown -->\n```text\ny = 2\n```\n'
    )
    failures = [walk.take(block) is not None for block in blocks_in(text)]
    assert failures == [False, True, False, True, False, True, False, False, False, False, True]
    assert Path(walk.root, 'a.py').read_text() == 'x = 1\ny = 3\n'

"""The documentation names no file and no place in a page that is not there."""

import re

import pytest

from tests.docs.pages import FENCE, PAGES, ROOT, own_text

LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
HEADING = re.compile(r'^#+ +(.+)$', re.MULTILINE)
CODE = re.compile(r'`([^`\n]+)`')
FOLDERS = '|'.join(path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != '.')
# Sources by their ending, `checkpoint/loading.py`; and all else below a folder of the root.
FILE = re.compile(
    r'(?<![\w./:>-])((?:[\w-]+/)+[\w-]+\.(?:py|md|yml|sh|toml)\b'
    rf'|(?:{FOLDERS})/[\w./-]*(?:\.[a-z]\w*|/))(?![\w*<{{])'
)
# What users make themselves.
MADE = re.compile(r'(work_dirs|data|dist|site)/|.*/my_')


def links_in(text):
    """Targets of a page's links that lie in the sources."""
    targets = LINK.findall(FENCE.sub('', text))
    return [target for target in targets if not re.match(r'[a-z]+:', target)]


def anchors_in(text):
    """The anchors that GitHub gives the headings of a page."""
    titles = HEADING.findall(FENCE.sub('', text))
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def files_in(text):
    """Paths that a page names in backticks, in a line or in a block."""
    pieces = [*CODE.findall(FENCE.sub('', text)), *FENCE.findall(text)]
    found = {path for piece in pieces for path in FILE.findall(piece)}
    return sorted(path for path in found if not MADE.match(path))


def dead_links(page):
    dead = []
    for target in links_in(page.read_text()):
        name, _, anchor = target.partition('#')
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors_in(path.read_text())):
            dead.append(target)
    return dead


@pytest.mark.parametrize(
    ('text', 'links', 'files'),
    [
        ('see [the page](a/b.md#c) and [web](https://x.y/z.md)', ['a/b.md#c'], []),
        ('`tools/train.py` and `mmvmamba/ops/`', [], ['mmvmamba/ops/', 'tools/train.py']),
        ('```bash\npython tools/gone.py data/coco/x.json\n```', [], ['tools/gone.py']),
        ('`layers/norm.py`, `configs/cls/my_images.py`', [], ['layers/norm.py']),
        ('`configs/det/<name>.py`, `tests/golden/*.json`, tools/plain.py', [], []),
        ('`https://host/docs/index.html`, `train.py`, `configs/toy/cls_*.py`', [], []),
    ],
)
def test_links_and_files_are_found(text, links, files):
    assert links_in(text) == links
    assert files_in(text) == files


def test_anchors_are_those_of_the_headings():
    assert anchors_in('# A b\n\n```\n# no\n```\n## `c_d`: e, f\n') == {'a-b', 'c_d-e-f'}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    assert not dead_links(page)
    # Paths begin at the root, at the package or at the page.
    folders = (ROOT, ROOT / 'mmvmamba', page.parent)
    missing = [
        path
        for path in files_in(own_text(page))
        if not any((folder / path).exists() for folder in folders)
    ]
    assert not missing

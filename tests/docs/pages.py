"""The pages of the documentation, and the blocks of code in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
    *sorted((ROOT / 'mmvmamba').rglob('README.md')),
    ROOT / 'tests' / 'golden' / 'README.md',
]
# A comment before a block says how a walk through the page takes it.
BLOCK = re.compile(
    r'(?:^<!-- walk: (?P<walk>.+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
FENCE = re.compile(r'^ *```.*?^ *```', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r'^ *(?:\$ )?(?:mmvmamba|python|pip|make|tools/\w+\.sh|docker) ', re.MULTILINE)


class Block(NamedTuple):
    """A block of code.

    Args:
        language: What stands behind the fence.
        text: The lines between the fences.
        walk: What the comment before it says; '' for a block that is run as it is.
        line: Where its text begins in the page, counted from 1.
    """

    language: str
    text: str
    walk: str
    line: int


def own_text(page: Path) -> str:
    """The text of a page, without what it says of other projects in the first column of a table."""
    text = page.read_text()
    is_move = page.parent.name == 'migration'
    return re.sub(r'^\|[^|]*\|', '', text, flags=re.MULTILINE) if is_move else text


def blocks_in(text: str) -> list[Block]:
    return [
        Block(
            match['language'],
            match['text'],
            match['walk'] or '',
            text.count('\n', 0, match.start('text')) + 1,
        )
        for match in BLOCK.finditer(text)
    ]


def commands_in(shell: str) -> list[list[str]]:
    """The simple commands of a piece of shell, as lists of words without redirections."""
    text = re.sub(r'\\\n\s*', ' ', shell)
    # What another command puts out is a word.
    text = re.sub(r'"?\$\([^)]*\)"?', 'OUTPUT', text)
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=';&|<>')
        lexer.whitespace_split = True
        lexer.commenters = '#'
        words: list[str] = []
        tokens = iter(lexer)
        for token in tokens:
            if set(token) <= set(';&|'):
                found.append(words)
                words = []
            elif set(token) <= set('<>'):
                next(tokens, None)
            else:
                words.append(token)
        found.append(words)
    return [words for words in map(_bare, found) if words]


def _bare(words: list[str]) -> list[str]:
    """A command without what the shell has before it."""
    while words and (words[0] in ('do', 'then', 'time') or re.match(r'[A-Z_]+=', words[0])):
        words = words[1:]
    return [] if words and words[0] in ('for', 'done', 'if', 'fi') else words

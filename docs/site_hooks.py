"""Adds to the site what does not lie in docs/: pages of other folders, the API, the command's help.

MkDocs calls the functions that begin with ``on_``.
"""

import ast
import html
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ['OUTSIDE', 'ROOMS', 'api_page', 'public_names', 'relink']

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'mmvmamba'
# Pages of the site and the files that they are made of.
OUTSIDE = {
    'changelog.md': 'CHANGELOG.md',
    'contributing.md': 'CONTRIBUTING.md',
    'licences.md': 'NOTICE',
    'lmdb.md': 'mmvmamba/datasets/README.md',
    'reference_numbers.md': 'tests/golden/README.md',
    'security.md': 'SECURITY.md',
    'selective_scan.md': 'mmvmamba/ops/selective_scan/README.md',
}
# The command line has a page of its own.
ROOMS = sorted({path.parent.name for path in PACKAGE.glob('*/__init__.py')} - {'cli'})
# Whichever begins first: a link in code is code, code in a link is a link.
LINK_OR_CODE = re.compile(
    r'^ *```.*?^ *```|`[^`\n]+`|(?P<text>\[[^\]]*\]\()(?P<target>[^)\s]+)\)',
    re.MULTILINE | re.DOTALL,
)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
log = logging.getLogger('mkdocs.hooks.site')


def on_files(files, config):
    """Adds the pages that are made of other files."""
    from mkdocs.structure.files import File

    pages = {name: _outside_text(source) for name, source in OUTSIDE.items()}
    pages['api/mmvmamba.md'] = api_page('')
    pages |= {f'api/{room}.md': api_page(room) for room in ROOMS}
    pages['commands.md'] = _commands_page()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Has links to files outside of docs/ lead to the page or the repository that shows them."""
    name = page.file.src_uri
    if name.startswith('api/') or name == 'commands.md':
        return markdown
    return relink(markdown, name, config.extra['repository'])


def on_page_content(content, page, config, files):
    """Turns formulas into MathML, which browsers draw themselves."""
    from latex2mathml.converter import convert

    def draw(match: re.Match) -> str:
        display = 'block' if match[1] == 'div' else 'inline'
        return convert(html.unescape(match[2]), display=display)

    return FORMULA.sub(draw, content)


def relink(markdown: str, name: str, repository: str) -> str:
    """Rewrites the links of a page for the site.

    Args:
        markdown: The page, with links as they hold in the sources.
        name: Of the page in the site.
        repository: Address that shows the sources.
    """

    def rewrite(match: re.Match) -> str:
        if match['target'] is None:
            return match[0]
        return f'{match["text"]}{_target(match["target"], name, repository)})'

    return LINK_OR_CODE.sub(rewrite, markdown)


def _target(link: str, name: str, repository: str) -> str:
    path, _, anchor = link.partition('#')
    if not path or re.match(r'[a-z]+:', link):
        return link
    source = OUTSIDE.get(name, f'docs/{name}')
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    pages = {file: page for page, file in OUTSIDE.items()}
    if place == 'README.md':
        place = 'docs/index.md'
    if not (ROOT / place).exists():
        log.warning('%s links to %s, which is not there', source, link)
    page = pages.get(place) or (place.removeprefix('docs/') if place.startswith('docs/') else None)
    if page is None or (ROOT / place).is_dir():
        return f'{repository}/{"tree" if (ROOT / place).is_dir() else "blob"}/main/{place}'
    found = posixpath.relpath(page, posixpath.dirname(name) or '.')
    return f'{found}#{anchor}' if anchor else found


def _outside_text(source: str) -> str:
    text = (ROOT / source).read_text()
    return text if source.endswith('.md') else f'# Licences\n\n```text\n{text}```\n'


def api_page(room: str) -> str:
    """The page of a package below ``mmvmamba``, or of ``mmvmamba`` itself for ''."""
    folder = PACKAGE / room
    title = '.'.join(['mmvmamba', *filter(None, [room])])
    docstring = ast.get_docstring(ast.parse((folder / '__init__.py').read_text())) or ''
    # What the sources say of roles is written for readers of the sources.
    docstring = re.sub(r':\w+:`([^`]+)`', r'`\1`', docstring)
    parts = [f'# {title}', docstring]
    for module, names in public_names(room):
        if module != title:
            parts.append(f'## {module}')
        parts += [f'::: {place}' for place in names]
    return '\n\n'.join(part for part in parts if part) + '\n'


def public_names(room: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the modules of a package that have public names, and where each name is.

    Args:
        room: Folder below ``mmvmamba``; '' for ``mmvmamba`` itself, without the packages below.
    """
    if not room:
        yield 'mmvmamba', [f'{home}.{name}' for name, home in _lazy_names().items()]
        return
    folder = PACKAGE / room
    packages = sorted(folder.rglob('__init__.py'))
    if not _all_of(folder / '__init__.py'):
        packages = sorted(path for path in folder.rglob('*.py') if path.name[0] != '_')
    seen: set[str] = set()
    for path in packages:
        parts = path.relative_to(ROOT).with_suffix('').parts
        module = '.'.join(part for part in parts if part != '__init__')
        places = [place for name in _all_of(path) if (place := _place(path, module, name))]
        # What the package takes from one below it stands with the package alone.
        places = [place for place in places if place not in seen]
        seen |= {place for name in _all_of(path) for place in _origins(path, module, name)}
        if places:
            yield module, places


def _place(path: Path, module: str, name: str) -> str | None:
    """Where a public name of a module is documented; None for a module, which has its own page."""
    if name in (homes := _homes(path)):
        return f'{module}.{homes[name]}.{name}'
    if path.name != '__init__.py' or not _is_module(path.parent / name):
        return f'{module}.{name}'
    # A function may be called as the module that it is in.
    return next(_origins(path, module, name), None)


def _origins(path: Path, module: str, name: str) -> Iterator[str]:
    """Yields where a package has a name from, if from a module below it."""
    if name in (homes := _homes(path)):
        yield f'{module}.{homes[name]}.{name}'
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 1:
            found = name in (alias.name for alias in node.names)
            yield from [f'{module}.{node.module}.{name}'] * found


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix('.py').is_file()


def _all_of(path: Path) -> list[str]:
    return _constants(path).get('__all__', [])


def _lazy_names() -> dict[str, str]:
    """Names of ``mmvmamba`` and the modules that they come from when they are asked for."""
    path = PACKAGE / '__init__.py'
    apis = {
        name: f'mmvmamba.apis.{home}' for name, home in _homes(PACKAGE / 'apis/__init__.py').items()
    }
    homes = {'__version__': 'mmvmamba.version', **apis, **_homes(path)}
    return {name: homes[name] for name in _all_of(path) if not _is_module(PACKAGE / name)}


def _homes(path: Path) -> dict[str, str]:
    """Where a package has the names from that it imports when they are asked for."""
    return _constants(path).get('_HOMES', {})


def _constants(path: Path) -> dict:
    """The names of a module that are given literals."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        targets = getattr(node, 'targets', [getattr(node, 'target', None)])
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(targets[0], ast.Name):
            try:
                found[targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def _commands_page() -> str:
    """What ``--help`` says of the command and of each of its commands."""
    from mmvmamba.cli.commands import COMMANDS
    from mmvmamba.cli.main import build_parser

    parts = ['# The command', _help_of(build_parser())]
    for name in COMMANDS:
        commands = next(
            a for a in build_parser([name])._actions if hasattr(a, 'choices') and a.choices
        )
        parts += _help_of_all(f'mmvmamba {name}', commands.choices[name])
    return '\n\n'.join(parts) + '\n'


def _help_of_all(title: str, parser) -> list[str]:
    parts = [f'## {title}', _help_of(parser)]
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for name, child in action.choices.items():
                parts += _help_of_all(f'{title} {name}', child)
    return parts


def _help_of(parser) -> str:
    return f'```text\n{parser.format_help().strip()}\n```'

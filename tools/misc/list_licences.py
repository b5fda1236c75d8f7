"""Lists what the installed package needs, with versions and licences, as a table in Markdown.

Exit codes: 0 the list is written, 2 bad input.
"""

import argparse
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmvmamba.cli.errors import UserError, user_errors

UNKNOWN = 'not stated'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/misc/list_licences.py --out dist/licences.md',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--extras',
        nargs='*',
        default=['openmmlab'],
        metavar='EXTRA',
        help='whose packages are listed, too (default: openmmlab)',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.md', help='default: print it')
    return parser.parse_args(argv)


def needed(name: str, extras: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """Yields what a package needs, and what that needs, each once, by name."""
    waiting, seen = [(canonicalize_name(name), extras)], {}
    while waiting:
        current, wanted = waiting.pop()
        if current in seen:
            continue
        try:
            seen[current] = distribution = metadata.distribution(current)
        except metadata.PackageNotFoundError:
            raise UserError(f'{current} is not installed: its licence is not known') from None
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if _applies(requirement, wanted):
                waiting.append((canonicalize_name(requirement.name), tuple(requirement.extras)))
    yield from (seen[key] for key in sorted(seen) if key != canonicalize_name(name))


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({'extra': extra}) for extra in (*extras, ''))


def licence_of(distribution: metadata.Distribution) -> str:
    """What a package states: an expression, classifiers, or the first line of a text."""
    fields = distribution.metadata
    if expression := fields.get('License-Expression'):
        return expression
    stated = [
        line.rsplit(' :: ', 1)[-1]
        for line in fields.get_all('Classifier', [])
        if line.startswith('License :: ')
    ]
    text = (fields.get('License') or '').strip().splitlines()
    return ', '.join(stated) or (text[0][:60] if text else UNKNOWN)


def table(extras: tuple[str, ...]) -> str:
    rows = [
        f'| {each.metadata["Name"]} | {each.version} | {licence_of(each)} |'
        for each in needed('mmvmamba', extras)
    ]
    head = ['| package | version | licence, as stated by it |', '| --- | --- | --- |']
    return '\n'.join([*head, *rows]) + '\n'


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with user_errors():
        text = table(tuple(args.extras))
        if args.out is None:
            print(text, end='')
        else:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(text)
            print(f'{len(text.splitlines()) - 2} packages are in {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())

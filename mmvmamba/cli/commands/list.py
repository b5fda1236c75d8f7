"""``mmvmamba list``."""

import argparse
from typing import TYPE_CHECKING

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.tables import format_columns

if TYPE_CHECKING:
    from mmvmamba.apis.catalogue import CatalogueEntry

__all__ = ['EXAMPLE', 'NEEDS_STACK', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'list the models with their figures and weights'
EXAMPLE = "mmvmamba list 'vim*' --task segmentation"
NEEDS_STACK = False

TASKS = ('classification', 'detection', 'segmentation')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is listed."""
    parser.add_argument(
        'pattern', nargs='?', help="a part of the name, or a pattern such as 'vim*' (default: all)"
    )
    parser.add_argument('--task', choices=TASKS, metavar='TASK', help=f'one of {", ".join(TASKS)}')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')


def run(args: argparse.Namespace) -> None:
    """Prints the table."""
    import json

    from mmvmamba.apis.catalogue import catalogue

    entries = catalogue(args.pattern, args.task)
    if not entries:
        of = f' of {args.task}' if args.task else ''
        raise UserError(f'no model{of} has {args.pattern!r} in its name; mmvmamba list shows all')
    if args.json:
        print(json.dumps([_record(entry) for entry in entries], indent=2))
        return
    rows = [_row(entry) for entry in entries]
    print(format_columns([('name', 'task', 'parameters', 'published', 'weights'), *rows]))
    print(f'\n{len(entries)} models; mmvmamba info NAME shows all that is known of one')


def _row(entry: 'CatalogueEntry') -> tuple[str, ...]:
    figures = [
        f'{value:.1f} {name.split(" ", 1)[1]}' for name, value in (entry.figures or {}).items()
    ]
    return (
        entry.name,
        entry.task,
        '-' if entry.params is None else f'{entry.params / 1e6:.1f} M',
        figures[0] if figures else '-',
        entry.collection['License']['Weights'] if entry.weights else '-',
    )


def _record(entry: 'CatalogueEntry') -> dict:
    return dict(
        name=entry.name,
        task=entry.task,
        parameters=entry.params,
        published=entry.figures or {},
        weights=entry.weights,
        config=str(entry.config),
    )

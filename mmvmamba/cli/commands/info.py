"""``mmvmamba info``."""

import argparse
from typing import TYPE_CHECKING

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.tables import format_columns

if TYPE_CHECKING:
    from mmvmamba.apis.catalogue import CatalogueEntry

__all__ = ['EXAMPLE', 'NEEDS_STACK', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'show all that is known of a model'
EXAMPLE = 'mmvmamba info vim_tiny'
NEEDS_STACK = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model."""
    parser.add_argument('name', help='a name of mmvmamba list, or the official one')


def run(args: argparse.Namespace) -> None:
    """Prints names and values in two columns."""
    from mmvmamba.apis.catalogue import catalogue, find_entry
    from mmvmamba.cli.names import near_names

    entry = find_entry(args.name)
    if entry is None:
        hint = near_names(args.name, [entry.name for entry in catalogue()])
        raise UserError(f'there is no model {args.name!r} (mmvmamba list shows all){hint}')
    print(format_columns(_rows(entry)))


def _rows(entry: 'CatalogueEntry') -> list[tuple[str, str]]:
    rows = [('name', entry.name)]
    if entry.aliases:
        rows.append(('official names', ', '.join(entry.aliases)))
    rows += [('task', entry.task), ('config', str(entry.config))]
    if entry.params is not None:
        rows.append(('parameters', f'{entry.params:,}'))
    rows += [(f'published {name}', f'{value:g}') for name, value in (entry.figures or {}).items()]
    rows.append(('weights', entry.weights or 'none published'))
    if entry.collection:
        licence = entry.collection['License']
        paper = entry.collection['Paper']
        rows += [
            ('licence of code', licence['Code']),
            ('licence of weights', licence['Weights']),
            ('paper', f'{paper["Title"]}, {paper["URL"]}'),
            ('official code', entry.collection['Code']['URL']),
        ]
    weights = '' if entry.weights else ' --weights FILE'
    rows.append(('try it', f'mmvmamba predict IMAGE --model {entry.name}{weights}'))
    return rows

"""``mmvmamba validate``."""

import argparse

from mmvmamba.cli.arguments import count, positive
from mmvmamba.cli.errors import UserError

__all__ = ['BAD_INPUT', 'EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'validate a classifier by its name, without a config'
EXAMPLE = """mmvmamba validate data/imagenet --model mambaout_tiny
  mmvmamba validate data/imagenet/val.lmdb --model vim_tiny --checkpoint vim_tiny.pth"""

# Once the test runs, a ValueError is a bug and keeps its traceback.
BAD_INPUT = ()
# How the validating programs of the official projects call the data and the file.
DATA = ('--data-path', '--data-dir', '--data_dir')
CHECKPOINT = ('--resume',)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data, the model, its weights, and what the official projects call these."""
    parser.add_argument(
        'place',
        nargs='?',
        metavar='data',
        help='a database; a folder of class folders; or a folder that has val or val.lmdb',
    )
    parser.add_argument('--model', required=True, metavar='NAME', help='of mmvmamba list')
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='our file or an official one, as it is (default: the official weights)',
    )
    parser.add_argument('--pretrained', action='store_true', help='the official weights')
    parser.add_argument(
        '--list',
        metavar='FILE',
        help='lines "<path> <class index>" for a flat folder or a database without labels',
    )
    parser.add_argument(
        '-b', '--batch-size', type=positive, default=64, metavar='N', help='default: 64'
    )
    parser.add_argument(
        '-j', '--workers', type=count, default=2, metavar='N', help='that read (default: 2)'
    )
    parser.add_argument(
        '--data', metavar='PATH', help=f'the same as the first argument, as are {", ".join(DATA)}'
    )
    parser.add_argument(*DATA, dest='data', help=argparse.SUPPRESS)
    parser.add_argument(*CHECKPOINT, dest='checkpoint', help=argparse.SUPPRESS)
    # Vim's program trains without it.
    parser.add_argument('--eval', action='store_true', help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    """Validates and prints the table."""
    if (args.place is None) == (args.data is None):
        raise UserError('give one folder or database to validate on')
    if args.pretrained and args.checkpoint:
        raise UserError('--pretrained takes the official weights: give it or --checkpoint')
    args.data = args.place or args.data
    from mmvmamba.cli.validation import validate

    validate(args)

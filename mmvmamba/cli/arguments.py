"""Arguments that several commands take."""

import argparse
from collections.abc import Sequence

__all__ = ['add_cfg_options', 'add_launcher', 'add_verbose', 'count', 'fraction', 'positive']


def positive(text: str) -> int:
    """Reads a whole number from 1."""
    return _at_least(text, 1)


def count(text: str) -> int:
    """Reads a whole number from 0."""
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'must be a whole number, got {text!r}') from None
    if value < least:
        raise argparse.ArgumentTypeError(f'must be {least} or more, got {value}')
    return value


def fraction(text: str) -> float:
    """Reads a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'must be a number, got {text!r}') from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'must be from 0 to 1, got {text}')
    return value


class _Overrides(argparse.Action):
    """mmengine's ``DictAction``, which is not imported before somebody uses it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence | None,
        option_string: str | None = None,
    ) -> None:
        from mmengine.config import DictAction

        read = DictAction(self.option_strings, self.dest, nargs=self.nargs)
        read(parser, namespace, values, option_string)


def add_cfg_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds ``--cfg-options``.

    Args:
        parser: Where to.
        example: An override for its help.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Overrides,
        metavar='KEY=VALUE',
        help=f'override settings of the config, such as {example}',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Adds ``--launcher`` and what torchrun's predecessor passes beside it."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        metavar='NAME',
        help='what started the processes: none, pytorch, slurm, mpi (default: none)',
    )
    # The environment says the same.
    parser.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Adds ``--verbose``."""
    parser.add_argument(
        '--verbose', action='store_true', help='show the whole log, not only what it is about'
    )

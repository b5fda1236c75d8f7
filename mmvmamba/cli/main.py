"""The command ``mmvmamba``: finds what was asked for, reads its arguments and runs it.

Nothing but the standard library is imported before a command runs, so that help is there at once,
and where OpenMMLab is missing.
"""

import argparse
import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from mmvmamba.compat import prepare_stack
from mmvmamba.version import __version__

from .commands import COMMANDS
from .errors import EXIT_CODES, SETUP_ERRORS, user_errors
from .leaving import leave

__all__ = ['build_parser', 'main', 'parse_args', 'program', 'run_tool']

DESCRIPTION = 'Vision-Mamba backbones for classification, detection and segmentation.'
EPILOG = 'mmvmamba COMMAND --help shows the arguments of a command and an example.'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name.

    Args:
        argv: The arguments; default: those of the process.

    Returns:
        The exit code: see ``EXIT_CODES``.
    """
    argv = sys.argv[1:] if argv is None else argv
    # Of a command that is named, the others need not be known.
    names = [argv[0]] if argv and argv[0] in COMMANDS else COMMANDS
    return _run(build_parser(names).parse_args(argv))


def program() -> NoReturn:
    """Runs the command of the process, and ends it."""
    leave(main())


def run_tool(command: str, argv: Sequence[str] | None = None) -> int:
    """Runs a command as the program of ``tools/`` that was called.

    Args:
        command: Its name, such as 'train' or 'data check'.
        argv: The arguments behind it; default: those of the process.
    """
    return _run(parse_args(command, argv, prog=Path(sys.argv[0]).name))


def parse_args(
    command: str, argv: Sequence[str] | None = None, prog: str | None = None
) -> argparse.Namespace:
    """Reads the arguments of one command.

    Args:
        command: Its name, such as 'train' or 'data check'.
        argv: The arguments behind it; default: those of the process.
        prog: What help calls the program.
    """
    module = _load(f'commands.{command.replace(" ", ".")}')
    parser = _Parser(prog=prog or f'mmvmamba {command}')
    parser.description, parser.epilog = _texts(module)
    _fill(parser, module)
    return parser.parse_args(argv)


def build_parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Builds the parser of the whole command, or of some of what it can do.

    Args:
        names: Out of ``COMMANDS``.
    """
    codes = '\n'.join(f'  {code:<4} {meaning}' for code, meaning in EXIT_CODES.items())
    parser = _Parser(
        prog='mmvmamba', description=DESCRIPTION, epilog=f'{EPILOG}\n\nexit codes:\n{codes}'
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    _add_commands(parser, 'commands', names)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose usage is one line, and whose help keeps the lines of its example."""

    def __init__(self, **settings) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **settings)

    def add_subparsers(self, **settings) -> argparse._SubParsersAction:  # type: ignore[override]
        """Adds commands, which are called as this parser is."""
        return super().add_subparsers(**{'prog': self.prog, 'parser_class': _Parser, **settings})


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **settings) -> None:
        super().__init__(prog, **{'max_help_position': 28, **settings})

    def _format_usage(self, usage, actions, groups, prefix) -> str:  # type: ignore[no-untyped-def]
        if usage is None:
            # Each option has its line below.
            positional = [action for action in actions if not action.option_strings]
            line = super()._format_usage(usage, positional, [], prefix)
            return f'{line.rstrip()} [options]\n\n'
        return super()._format_usage(usage, actions, groups, prefix)

    def _split_lines(self, text: str, width: int) -> list[str]:
        # A list of choices has a line for each.
        return text.splitlines() if '\n' in text else super()._split_lines(text, width)

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            # argparse forgets by how much the names of commands are indented.
            self._action_max_length += self._indent_increment


def _add_commands(parser: argparse.ArgumentParser, package: str, names: Sequence[str]) -> None:
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for name in names:
        module = _load(f'{package}.{name}')
        child = commands.add_parser(name, help=module.SUMMARY)
        child.description, child.epilog = _texts(module)
        _fill(child, module)


def _load(name: str) -> ModuleType:
    return importlib.import_module(f'.{name}', __package__)


def _texts(module: ModuleType) -> tuple[str, str]:
    """What help says before and behind the arguments."""
    summary = f'{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.'
    return summary, f'example:\n  {module.EXAMPLE}'


def _fill(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    """Adds what a command takes, or the commands below it."""
    if hasattr(module, 'COMMANDS'):
        _add_commands(parser, module.__name__.removeprefix(f'{__package__}.'), module.COMMANDS)
        return
    module.add_arguments(parser)
    for leaf in _leaves(parser):
        leaf.add_argument('--debug', action='store_true', help='show the traceback of an error')
    parser.set_defaults(module=module)


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers below which there are no others."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            # Aliases share a parser.
            below = dict.fromkeys(action.choices.values())
            return [leaf for child in below for leaf in _leaves(child)]
    return [parser]


def _run(args: argparse.Namespace) -> int:
    module = args.module
    if getattr(module, 'NEEDS_STACK', True):
        with user_errors(args.debug, (ImportError,)):
            prepare_stack()
    with user_errors(args.debug, getattr(module, 'BAD_INPUT', SETUP_ERRORS)):
        try:
            code = module.run(args) or 0
            sys.stdout.flush()
        except BrokenPipeError:
            if not _reader_has_left():
                raise
            code = 128 + signal.SIGPIPE
    return code


def _reader_has_left() -> bool:
    """Whether nobody reads the output any more, as `head` after its lines."""
    output = select.poll()
    output.register(sys.stdout, 0)
    has_left = any(event & select.POLLERR for _, event in output.poll(0))
    if has_left:
        # What is still to be written goes nowhere as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return has_left

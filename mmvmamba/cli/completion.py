"""Completion in a shell: ``mmvmamba completion``."""

import argparse

import shtab

from mmvmamba.apis.catalogue import catalogue

from .main import build_parser

__all__ = ['completion_script']

MODEL_ARGUMENTS = ('model', 'name', 'pattern')


def completion_script(shell: str) -> str:
    """Writes the script that makes a shell complete ``mmvmamba``.

    The names of models are those of the installed package; files stand wherever an argument has no
    choices.

    Args:
        shell: 'bash', 'zsh' or 'tcsh'.
    """
    parser = build_parser()
    _offer(parser, [entry.name for entry in catalogue()])
    return shtab.complete(parser, shell)


def _offer(parser: argparse.ArgumentParser, models: list[str]) -> None:
    """Tells which values each argument may have."""
    for action in parser._actions:
        if action.help is not None:
            # What follows is a list, for help alone.
            action.help = action.help.partition('\n')[0]
        if isinstance(action, argparse._SubParsersAction):
            for child in dict.fromkeys(action.choices.values()):
                _offer(child, models)
        elif action.dest in MODEL_ARGUMENTS:
            action.choices = models
        elif action.nargs != 0 and action.choices is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]

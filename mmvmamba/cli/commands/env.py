"""``mmvmamba env``."""

import argparse

__all__ = ['EXAMPLE', 'NEEDS_STACK', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'print what a bug report should have: versions, devices'
EXAMPLE = 'mmvmamba env'

# It says what is missing.
NEEDS_STACK = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: there is nothing to choose."""


def run(args: argparse.Namespace) -> None:
    """Prints the report."""
    from mmvmamba.cli import collect_env

    collect_env.main()

"""``mmvmamba doctor``."""

import argparse

__all__ = ['EXAMPLE', 'NEEDS_STACK', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'compare every backend of the operators with the reference'
EXAMPLE = 'mmvmamba doctor'

# Operators know torch alone.
NEEDS_STACK = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: there is nothing to choose."""


def run(args: argparse.Namespace) -> int:
    """Prints a table for each operator; returns 1 if a result is wrong."""
    from mmvmamba.cli import doctor

    return doctor.main()

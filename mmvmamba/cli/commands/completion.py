"""``mmvmamba completion``."""

import argparse

__all__ = ['EXAMPLE', 'NEEDS_STACK', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'print what makes a shell complete what you type'
EXAMPLE = """mmvmamba completion bash > ~/.local/share/bash-completion/completions/mmvmamba
  mmvmamba completion zsh > ~/.zfunc/_mmvmamba  # a folder of $fpath"""
NEEDS_STACK = False

SHELLS = ('bash', 'zsh', 'tcsh')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the shell."""
    parser.add_argument('shell', choices=SHELLS, help='which shell')


def run(args: argparse.Namespace) -> None:
    """Prints the script."""
    from mmvmamba.cli.completion import completion_script

    print(completion_script(args.shell))

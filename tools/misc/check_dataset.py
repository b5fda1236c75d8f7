"""Reads all data that a config names and lists what is wrong with it: ``mmvmamba data check``."""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import sys

from mmvmamba.cli.main import run_tool


def main(argv: list[str] | None = None) -> int:
    return run_tool('data check', argv)


if __name__ == '__main__':
    sys.exit(main())

"""Validates a classifier by name on a folder or a database: ``mmvmamba validate``."""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import sys

from mmvmamba.cli.main import run_tool


def main(argv: list[str] | None = None) -> int:
    return run_tool('validate', argv)


if __name__ == '__main__':
    sys.exit(main())

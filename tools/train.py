"""Trains a classifier, detector or segmentor from its config: ``mmvmamba train``."""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

from mmvmamba.cli.leaving import leave
from mmvmamba.cli.main import run_tool


def main(argv: list[str] | None = None) -> int:
    return run_tool('train', argv)


if __name__ == '__main__':
    leave(main())

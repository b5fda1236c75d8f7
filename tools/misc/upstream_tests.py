"""Runs the tests of mmcv, mmdetection, mmsegmentation or mmpretrain with our parts in place.

Sources are taken from the folders in MMCV_SOURCE, MMDET_SOURCE, MMSEG_SOURCE and MMPRETRAIN_SOURCE,
each a checkout with `tests/`; the packages are those installed. Without such a variable nothing is
run. mmdet's `CocoMetric` is ours, mmcv's compiled operators are the stand-ins. A failure counts as
possibly ours if one of them was called in the test, or stands in its traceback.

Exit codes: 0 nothing failed that may be ours, 1 something did, 2 bad input.
"""

import mmvmamba  # noqa: F401  isort: skip  provides the stand-ins before mmcv's operators are imported

import argparse
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmvmamba.cli.errors import UserError, user_errors

VARIABLES = {
    'mmcv': 'MMCV_SOURCE',
    'mmdet': 'MMDET_SOURCE',
    'mmseg': 'MMSEG_SOURCE',
    'mmpretrain': 'MMPRETRAIN_SOURCE',
}
GROUPS = {
    'passed': 'passed',
    'ours': 'failed, ours was called',
    'others': 'failed without us',
    'skipped': 'skipped',
}


class Recorder:
    """A plugin of pytest that puts our parts in place and sorts the outcomes."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.outcomes: dict[str, dict[str, str]] = {group: {} for group in GROUPS}

    def watch(self, name: str, function: Callable) -> Callable:
        """Makes a function say that it was called."""

        @functools.wraps(function)
        def watched(*args, **kwargs):
            self.called.add(name)
            return function(*args, **kwargs)

        return watched

    def put_in_place(self) -> None:
        """Watches the stand-ins for mmcv's operators, and has mmdet's metric be ours."""
        from mmcv import _ext

        from mmvmamba.compat import mmcv_ops

        for name in mmcv_ops.__all__:
            setattr(_ext, name, self.watch(f'mmcv._ext.{name}', getattr(_ext, name)))
        try:
            import mmdet.evaluation as evaluation
        except ImportError:
            return
        from mmvmamba.engine.metrics import CocoMetric

        CocoMetric.__init__ = self.watch('CocoMetric', CocoMetric.__init__)  # type: ignore[method-assign]
        evaluation.CocoMetric = evaluation.metrics.CocoMetric = CocoMetric

    def pytest_runtest_setup(self) -> None:
        self.called.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if report.failed:
            group = 'ours' if self.is_ours(report.longreprtext) else 'others'
            self.outcomes[group][item.nodeid] = self.reason(report)
        elif report.skipped:
            self.outcomes['skipped'][item.nodeid] = str(report.longrepr)[-200:]
        elif report.when == 'call':
            self.outcomes['passed'][item.nodeid] = ' '.join(sorted(self.called))
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            group = 'ours' if self.is_ours(report.longreprtext) else 'others'
            self.outcomes[group][report.nodeid] = report.longreprtext.splitlines()[-1]

    def is_ours(self, traceback: str) -> bool:
        return bool(self.called) or 'mmvmamba' in traceback

    def reason(self, report: pytest.TestReport) -> str:
        lines = [line for line in report.longreprtext.splitlines() if line.startswith('E ')]
        calls = f' (called: {", ".join(sorted(self.called))})' if self.called else ''
        return f'{lines[0][2:].strip() if lines else "failed"}{calls}'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: MMDET_SOURCE=~/mmdetection python tools/misc/upstream_tests.py mmdet '
        '--tests tests/test_evaluation',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('projects', nargs='*', help='default: those with a variable')
    parser.add_argument('--tests', nargs='+', default=['tests'], help='in the folder (tests)')
    parser.add_argument('--report', type=Path, help='a JSON file for every outcome')
    # Each project is run in a process of its own: their tests leave things behind.
    parser.add_argument('--here', type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def source_of(project: str, tests: list[str]) -> Path:
    """The checkout of a project."""
    if project not in VARIABLES:
        raise UserError(f'projects must be among {list(VARIABLES)}, got {project!r}')
    variable = VARIABLES[project]
    if not os.environ.get(variable):
        raise UserError(f'{variable} must name the folder of the sources of {project}')
    folder = Path(os.environ[variable]).expanduser()
    for name in tests:
        if not (folder / name).exists():
            raise UserError(f'{variable} must name a folder with {name}, got {folder}')
    return folder


def run_here(tests: list[str], report: Path) -> int:
    """Runs tests in this process and folder, and writes the outcomes."""
    recorder = Recorder()
    recorder.put_in_place()
    options = ['-q', '-p', 'no:cacheprovider', '--no-header', '--tb=short', '-W', 'ignore']
    options.append('--continue-on-collection-errors')
    code = pytest.main([*options, '--rootdir=.', '-c', os.devnull, *tests], plugins=[recorder])
    report.write_text(json.dumps(recorder.outcomes))
    return int(code)


def run_project(project: str, tests: list[str], report: Path) -> dict[str, dict[str, str]]:
    """Runs the tests of a project in its folder, in a process of their own."""
    folder = source_of(project, tests)
    command = [sys.executable, str(Path(__file__).resolve()), '--here', str(report.resolve())]
    report.unlink(missing_ok=True)
    subprocess.run([*command, '--tests', *tests], cwd=folder, check=False)
    if not report.is_file():
        raise UserError(f'the run of the tests of {project} died; its last lines stand above')
    return json.loads(report.read_text())


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.here:
        return run_here(args.tests, args.here)
    with user_errors():
        projects = args.projects or [name for name, key in VARIABLES.items() if os.environ.get(key)]
        if not projects:
            print(f'no sources at hand: none of {", ".join(VARIABLES.values())} is set')
            return 0
        found = {}
        for project in projects:
            report = Path(f'{args.report or "work_dirs/upstream.json"}.{project}')
            report.parent.mkdir(parents=True, exist_ok=True)
            found[project] = run_project(project, args.tests, report)
            report.unlink()
        if args.report:
            args.report.write_text(json.dumps(found, indent=1))
        return tell(found)


def tell(found: dict[str, dict[str, dict[str, str]]]) -> int:
    """Prints the numbers of each group and every failure that may be ours."""
    print(f'\n| project | {" | ".join(GROUPS.values())} |\n|---{"|---" * len(GROUPS)}|')
    for project, outcomes in found.items():
        counts = ' | '.join(str(len(outcomes[group])) for group in GROUPS)
        print(f'| {project} | {counts} |')
    for project, outcomes in found.items():
        for name, reason in outcomes['ours'].items():
            print(f'{project} {name}: {reason}')
    return int(any(outcomes['ours'] for outcomes in found.values()))


if __name__ == '__main__':
    sys.exit(main())

"""`make matrix`: the fast tests in environments of several versions, one after the other.

    nox                                   # all, some 6 GB and half an hour each
    nox -s oldest -- tests/compat         # one of them, and some of the tests

Each session adds a row to work_dirs/matrix.md; docs/drop_in.md has the last rows.
"""

import datetime
import os
import re
import shutil
from pathlib import Path

import nox

nox.needs_version = '>=2024.4'
# uv resolves in seconds what takes pip minutes, and environments share files with its cache.
nox.options.default_venv_backend = 'uv|venv'
# As pip does; else the tests, to which warnings are errors, meet those of compiling mmdet.
os.environ.setdefault('UV_COMPILE_BYTECODE', '1')
nox.options.error_on_missing_interpreters = False
# Environments are made anew: what is left of another version would be measured, too.
nox.options.reuse_existing_virtualenvs = False

TORCH = ('torch==2.11.0', 'torchvision==0.26.0')
REPORT = Path('work_dirs/matrix.md')
VERSIONS = """
import platform
from importlib.metadata import distributions
from mmvmamba.compat import mmcv_ops_status
found = {d.name.lower(): d.version for d in distributions()}
wanted = 'torch numpy numba mmcv mmcv-lite onedl-mmcv mmengine onedl-mmengine'.split()
print(platform.python_version(), mmcv_ops_status()[0], sep=' | ', end=' | ')
print(', '.join(f'{name} {found[name]}' for name in wanted if name in found))
"""


@nox.session(python='3.11')
def default(session: nox.Session) -> None:
    """PyPI's openmmlab on the torch that `make install` takes."""
    session.install(*TORCH)
    run_tests(session, 'openmmlab')


@nox.session(python='3.11')
def onedl(session: nox.Session) -> None:
    """The maintained forks."""
    # Newer ones lack what its set-up imports, older ones do not read its licence. Where torch is,
    # it compiles its operators.
    session.install('setuptools>=77,<81', 'wheel')
    session.install('--no-build-isolation', '--no-deps', 'onedl-mmcv>=2.3.0')
    session.install(*TORCH)
    run_tests(session, 'onedl')


@nox.session(python='3.11')
def newest(session: nox.Session) -> None:
    """The newest torch that installs."""
    session.install('--upgrade', 'torch', 'torchvision')
    # Elsewhere its tests skip: mmpretrain imports transformers, which costs every process seconds.
    run_tests(session, 'openmmlab,transformers')


@nox.session(python='3.10')
def oldest(session: nox.Session) -> None:
    """The oldest versions that we claim, on the oldest Python."""
    # The web page wants a newer huggingface_hub; its tests skip.
    run_tests(session, 'openmmlab', '--constraint', 'requirements/oldest.txt', without=('gradio',))


@nox.session(python='3.13')
def newest_python(session: nox.Session) -> None:
    """The newest Python for which everything installs."""
    session.install(*TORCH)
    run_tests(session, 'openmmlab')


@nox.session(python='3.11')
def compiled(session: nox.Session) -> None:
    """mmcv with its operators, built here for the CPU: a quarter of an hour with two cores."""
    if shutil.which('g++') is None:
        session.skip('no compiler at hand')
    session.install(*TORCH, 'setuptools<81', 'wheel', 'ninja')
    session.install(
        '--no-build-isolation', '--no-binary=mmcv', 'mmcv>=2.1,<2.2', env={'MMCV_WITH_OPS': '1'}
    )
    run_tests(session, 'openmmlab')


def run_tests(
    session: nox.Session, extra: str, *options: str, without: tuple[str, ...] = ()
) -> None:
    """Installs the package with one line of OpenMMLab, runs the tests and reports them."""
    lines = Path('requirements/tests.txt').read_text().splitlines()
    needed = [line.partition('#')[0].strip() for line in lines]
    needed = [line for line in needed if line and not line.startswith(without)]
    session.install(*options, '-e', f'.[{extra},hf]', *needed)
    tests = session.posargs or ['tests']
    log = Path(session.create_tmp()) / 'pytest.txt'
    marks = 'not slow and not full and not gpu'
    with log.open('w') as stream:
        session.run(
            *('python', '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-n', '2', '-m', marks),
            *tests,
            stdout=stream,
            success_codes=range(256),
        )
    lines = log.read_text().splitlines()
    failed = [line.partition(' - ')[0] for line in lines if line.startswith(('FAILED', 'ERROR'))]
    versions = str(session.run('python', '-c', VERSIONS, silent=True)).strip().splitlines()[-1]
    outcome = re.sub(r' in [\d.]+s.*', '', lines[-1].strip('= ')) if lines else 'nothing ran'
    row = f'| {session.name} | {versions} | {" ".join(tests)} | {outcome} '
    REPORT.parent.mkdir(exist_ok=True)
    with REPORT.open('a') as report:
        report.write(f'{row}| {datetime.date.today()} |\n')
    if failed or 'passed' not in outcome:
        session.error('\n'.join([outcome, *failed]))

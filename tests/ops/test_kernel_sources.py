"""Compiled kernels that are kept on disk are those of today's sources."""

import importlib
import os
import sys

import pytest

pytest.importorskip('numba', reason='kernels for the CPU are compiled by numba')

KERNEL = """
from mmvmamba.ops.cpu.kernels import kernel
from {package}.middle import twice

@kernel
def run(x):
    return twice(x)
"""
MIDDLE = """
from mmvmamba.ops.cpu.kernels import inline
from {package}.inner import OFFSET, scale

@inline
def twice(x):
    return scale(x) + OFFSET
"""
INNER = """
from mmvmamba.ops.cpu.kernels import inline

OFFSET = {offset}

@inline
def scale(x):
    return {factor} * x
"""


@pytest.fixture
def result_of(tmp_path, monkeypatch):
    """Writes what the kernel takes in, and calls the kernel as a new process would."""
    package = 'kernel_of_a_test'
    folder = tmp_path / package
    folder.mkdir()
    for name, text in (('__init__', ''), ('kernels', KERNEL), ('middle', MIDDLE)):
        (folder / f'{name}.py').write_text(text.format(package=package))
    monkeypatch.syspath_prepend(tmp_path)

    def run(factor, offset=0):
        (folder / 'inner.py').write_text(INNER.format(factor=factor, offset=offset))
        for name in [name for name in sys.modules if name.startswith(package)]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        # Python, too, looks at time and size.
        monkeypatch.setattr(sys, 'dont_write_bytecode', True)
        return importlib.import_module(f'{package}.kernels').run(10)

    return run


def test_a_change_of_what_a_kernel_takes_in_is_seen(result_of):
    assert result_of(2) == 20
    assert result_of(3) == 30
    assert result_of(3, offset=1) == 31


def test_what_has_not_changed_is_found_again(result_of, tmp_path):
    assert result_of(2) == 20

    def kept():
        found = [path for path in tmp_path.rglob('*.nb[ci]') if 'run_' in path.name]
        return {(path.name, os.stat(path).st_mtime_ns) for path in found}

    before = kept()
    assert len(before) == 2
    assert result_of(2) == 20
    assert kept() == before

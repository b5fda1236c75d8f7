"""Which ``mmcv._ext`` an interpreter gets: compiled, stand-in, or stand-in with a warning."""

import importlib.util
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from mmcv.utils import ext_loader

from mmvmamba.compat import mmcv_ops_status
from mmvmamba.compat.mmcv_ext import StandInModule, missing_op, provide_mmcv_ops

REPOSITORY = Path(__file__).resolve().parents[2]

IMPORT_AND_REPORT = """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        import mmvmamba
        import mmcv._ext as ext
    from mmvmamba.compat import mmcv_ops_status
    print(type(ext).__name__, getattr(ext, 'nms', None))
    print(len([w for w in caught if '_ext' in str(w.message)]), *[w.message for w in caught])
    print(mmcv_ops_status())
"""


def run_with_fake_mmcv(folder, code, **files):
    """Runs code in an interpreter that finds an mmcv made of the given files first."""
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text("__version__ = '2.1.0'\n")
    for name, content in files.items():
        (package / name.replace('__', '.', 1)).write_bytes(content)
    environment = {'PYTHONPATH': f'{folder}:{REPOSITORY}', 'PATH': ''}
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_compiled_module_is_used(tmp_path):
    lines = run_with_fake_mmcv(tmp_path, IMPORT_AND_REPORT, **{'_ext.py': b"nms = 'compiled'\n"})
    assert lines[0] == 'module compiled'
    assert lines[1] == '0'
    assert lines[2].startswith("('compiled', ")


def test_a_compiled_module_that_does_not_load_becomes_one_warning(tmp_path):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    lines = run_with_fake_mmcv(tmp_path, IMPORT_AND_REPORT, **{f'_ext{suffix}': b'not a library'})
    assert lines[0].startswith('StandInModule <function nms')
    assert lines[1].startswith('1 ')
    assert str(tmp_path / 'mmcv' / f'_ext{suffix}') in lines[1]
    assert 'does not load' in lines[2]


def test_without_a_compiled_module_the_stand_in_is_used(tmp_path):
    lines = run_with_fake_mmcv(tmp_path, IMPORT_AND_REPORT)
    assert lines[0].startswith('StandInModule <function nms')
    assert lines[1] == '0'
    assert lines[2] == "('stand-in', 'the installed mmcv has no compiled operators')"


def test_mmengine_and_mmcv_find_the_module():
    # mmengine asks so before it reverts SyncBN.
    assert pkgutil.find_loader('mmcv._ext') is not None
    assert ext_loader.check_ops_exist()
    assert importlib.util.find_spec('mmcv._ext') is not None


def test_providing_twice_adds_nothing():
    provide_mmcv_ops()
    before = list(sys.meta_path)
    provide_mmcv_ops()
    assert sys.meta_path == before


def test_a_missing_op_raises_when_called_and_names_itself():
    op = getattr(StandInModule('mmcv._ext'), 'box_iou_rotated')  # noqa: B009  a lookup as mmcv's
    with pytest.raises(NotImplementedError, match=r"mmcv's operator 'box_iou_rotated' needs"):
        op(torch.zeros(1), aligned=True)
    assert missing_op('knn_forward').__name__ == 'knn_forward'


def test_dunder_names_are_not_ops():
    with pytest.raises(AttributeError, match='__path__'):
        StandInModule('mmcv._ext').__path__  # noqa: B018


def test_status_of_this_interpreter_is_known():
    kind, reason = mmcv_ops_status()
    assert kind in ('compiled', 'stand-in')
    assert reason

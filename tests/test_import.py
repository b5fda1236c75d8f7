"""What ``import mmvmamba`` does, and what it must not pull in."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Each of them costs seconds, may be missing, or may be broken on a user's machine.
NOT_IMPORTED = (
    'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'numba', 'triton', 'mamba_ssm', 'causal_conv1d',
    'selective_scan_cuda', 'timm', 'transformers', 'einops', 'torchvision', 'cv2',
)  # fmt: skip

# What stands for a package that is not there, for import and for find_spec alike.
BLOCK = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


def run(code):
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout.strip(), result.stderr


def test_import_brings_nothing_heavy():
    # torch itself may bring some of them.
    code = f"""
import sys, torch
before = set(sys.modules)
import mmvmamba
print([n for n in {NOT_IMPORTED!r} if n in sys.modules and n not in before])
"""
    status, output, error = run(code)
    assert status == 0, error
    assert output == '[]'


def test_import_says_nothing():
    status, output, error = run('import mmvmamba')
    assert (status, output, error) == (0, '', '')


def test_import_works_without_accelerators_and_openmmlab():
    code = BLOCK.format(names=NOT_IMPORTED) + 'import mmvmamba; print(mmvmamba.__version__)'
    status, output, error = run(code)
    assert status == 0, error
    assert output


HIDE_MMENGINE = """
import runpy
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmengine':
            raise ModuleNotFoundError("No module named 'mmengine'", name='mmengine')
sys.meta_path.insert(0, Hide())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == 'mmengine' else find_spec(name)
"""


@pytest.mark.parametrize(
    'use',
    [
        'import mmvmamba',
        *(
            f"runpy.run_path('{REPOSITORY}/tools/{name}.py', run_name='__main__')"
            for name in ('train', 'test', 'misc/check_dataset')
        ),
    ],
)
def test_missing_mmengine_is_one_sentence(use):
    status, _, error = run(HIDE_MMENGINE + use)
    assert status == 1
    last = error.strip().splitlines()[-1]
    assert 'mmengine is not installed' in last
    assert 'pip install "mmvmamba[openmmlab]"' in last


@pytest.mark.slow
def test_mmdet_imports_after_us():
    status, output, error = run('import mmvmamba, mmdet.models; print(mmdet.__name__)')
    assert status == 0, error
    assert output.endswith('mmdet')

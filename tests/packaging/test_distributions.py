"""The sdist and the wheel work outside the checkout."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

# What a user does after installing, without a checkout beside him.
SCRIPT = """
from pathlib import Path
import mmvmamba
package = Path(mmvmamba.__file__).parent
assert {place!r} in str(package), package
for name in ('configs/det/l1_maskrcnn_1x.py', 'tools/dist_train.sh', 'tools/train.py',
             'demo/toy_demo.py', 'demo/deploy/classify.cpp', 'model-index.yml'):
    assert (package / '.mim' / name).exists(), name
assert 'mambaout_femto' in mmvmamba.list_models()
assert 'l1_maskrcnn_1x' in mmvmamba.list_models()
import torch
model = mmvmamba.get_model('mambaout_femto')
assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
print('works')
"""


def run(*command, cwd):
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def distributions(tmp_path_factory):
    folder = tmp_path_factory.mktemp('dist')
    run(sys.executable, '-m', 'build', '--outdir', folder, ROOT, cwd=folder)
    return folder


def test_sdist_has_no_part_of_the_tests(distributions):
    """A few of them, which setuptools would add, do not run without the others."""
    (sdist,) = distributions.glob('*.tar.gz')
    with tarfile.open(sdist) as archive:
        names = [name.partition('/')[2] for name in archive.getnames()]
    assert 'mmvmamba/py.typed' in names
    assert [name for name in names if name.startswith('tests')] == []


@pytest.mark.parametrize('pattern', ['*.whl', '*.tar.gz'])
def test_distribution_works_outside_the_checkout(distributions, pattern, tmp_path):
    (distribution,) = distributions.glob(pattern)
    environment = tmp_path / 'env'
    venv.create(environment, with_pip=True)
    python = environment / 'bin' / 'python'
    # Dependencies come from the environment of the tests; only the package itself is installed.
    (site_packages,) = environment.glob('lib/python*/site-packages')
    (site_packages / 'outer.pth').write_text(sysconfig.get_path('purelib'))
    run(
        python,
        '-m',
        'pip',
        'install',
        '--no-deps',
        '--ignore-installed',
        distribution,
        cwd=tmp_path,
    )
    output = run(python, '-c', SCRIPT.format(place=str(environment)), cwd=tmp_path)
    assert output.strip().endswith('works')
    command = environment / 'bin' / 'mmvmamba'
    assert 'l1_maskrcnn_1x' in run(command, 'list', 'l1*', cwd=tmp_path)
    # The config is found by its path in the project and read with its bases.
    checked = subprocess.run(
        [command, 'data', 'check', 'configs/toy/det_mambaout_retinanet.py'],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 2
    assert 'data root data/toy/coco' in checked.stderr

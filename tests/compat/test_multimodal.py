"""The stack imports with every version of transformers, whatever mmpretrain's BLIP misses there."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmvmamba.compat import fit_multimodal, multimodal

ROOT = Path(__file__).parents[2]
PROBE = """
import mmvmamba, mmpretrain.models, mmdet.models, mmseg.models, transformers
from mmpretrain.utils.dependency import WITH_MULTIMODAL
from mmdet.apis import DetInferencer
from mmseg.apis import MMSegInferencer

for name in ('plain_mamba_l1', 'vim_tiny', 'mambavision_t', 'mambaout_femto'):
    mmvmamba.get_model(name)
mmpretrain.get_model('resnet18_8xb32_in1k')
assert 'resnet18_8xb32_in1k' in mmpretrain.list_models('resnet18*')
print(transformers.__version__, WITH_MULTIMODAL)
"""
# What transformers 4 needs beside the packages that this environment has anyway.
OLD_HUB = ('huggingface-hub<1', 'requests', 'charset-normalizer', 'idna', 'certifi', 'urllib3')
RELEASES = {
    'last-4': ('transformers<5', 'tokenizers<0.23', *OLD_HUB),
    'newest': ('transformers>=5', 'tokenizers>=0.22'),
}


@pytest.fixture
def transformers_with(tmp_path, monkeypatch):
    """Makes an installed stand-in for transformers that has some of the names only."""

    def install(names):
        package = tmp_path / 'transformers'
        package.mkdir()
        (package / '__init__.py').write_text('')
        lines = [f'{name} = object' for name in names]
        (package / 'modeling_utils.py').write_text('\n'.join(lines))
        metadata = tmp_path / 'transformers-5.0.0.dist-info/METADATA'
        metadata.parent.mkdir()
        metadata.write_text('Metadata-Version: 2.1\nName: transformers\nVersion: 5.0.0\n')
        for name in [name for name in sys.modules if name.split('.')[0] == 'transformers']:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in ('transformers', 'transformers.modeling_utils'):
        sys.modules.pop(name, None)


def switch_as_loaded_now():
    """What mmpretrain would find, had it not been imported yet."""
    pytest.importorskip('mmpretrain')
    spec = importlib.util.find_spec(multimodal.SWITCH_MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def not_imported(monkeypatch):
    pytest.importorskip('mmpretrain')
    monkeypatch.delitem(sys.modules, multimodal.SWITCH_MODULE, raising=False)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    fit_multimodal()


@pytest.mark.parametrize('gone', multimodal.NEEDED_NAMES)
def test_a_transformers_without_a_name_is_not_used(gone, transformers_with, not_imported):
    transformers_with([name for name in multimodal.NEEDED_NAMES if name != gone])
    assert multimodal.missing_names() == [gone]
    assert switch_as_loaded_now().WITH_MULTIMODAL is False


def test_a_transformers_with_every_name_is_used(transformers_with, not_imported):
    transformers_with(multimodal.NEEDED_NAMES)
    assert multimodal.missing_names() == []
    assert switch_as_loaded_now().WITH_MULTIMODAL is True


def test_a_switch_that_is_already_loaded_is_turned_off(transformers_with, monkeypatch):
    transformers_with([])
    module = switch_as_loaded_now()
    module.WITH_MULTIMODAL = True
    monkeypatch.setitem(sys.modules, multimodal.SWITCH_MODULE, module)
    fit_multimodal()
    assert module.WITH_MULTIMODAL is False


def test_finder_is_added_once(not_imported):
    before = [*sys.meta_path]
    fit_multimodal()
    assert sys.meta_path == before


@pytest.fixture(scope='module', params=RELEASES)
def release(request, tmp_path_factory):
    """The environment of a process that finds a release."""
    folder = tmp_path_factory.mktemp(request.param)
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', str(folder)]
    install = subprocess.run(
        [*pip, *RELEASES[request.param], 'regex', 'safetensors'],
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode:
        pytest.skip(f'the package index does not answer: {install.stderr.strip().splitlines()[-1]}')
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])
    return {**os.environ, 'PYTHONPATH': path}


def run_python(arguments, env):
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_stack_imports_with_releases_of_transformers(release):
    probe = run_python(['-c', PROBE], release)
    assert probe.returncode == 0, probe.stderr
    assert probe.stdout.split()[-1] == 'False'


@pytest.mark.slow
@pytest.mark.parametrize('release', ['newest'], indirect=True)
def test_auto_classes_of_the_newest_transformers_know_our_models(release):
    """transformers is in no environment of the tests: it costs every process seconds."""
    tests = ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests/hub/test_transformers.py']
    done = run_python(tests, release)
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(r'\d+ passed in .*', done.stdout.splitlines()[-1]), done.stdout

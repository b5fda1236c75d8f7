"""One sentence with one command for an OpenMMLab piece that is missing or does not fit."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mmvmamba.cli.configs import load_config
from mmvmamba.cli.errors import UserError
from mmvmamba.compat import INSTALL_COMMAND, require


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes an importable package of one line."""

    def make(name, code):
        (tmp_path / f'{name}.py').write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return make


def message_of(name):
    with pytest.raises(ImportError) as caught:
        require(name)
    text = str(caught.value)
    assert '\n' not in text
    assert text.endswith(INSTALL_COMMAND)
    return text


def test_a_package_that_is_there_is_returned():
    assert require('mmengine') is sys.modules['mmengine']


def test_a_missing_package_is_named():
    assert message_of('mmnothing').startswith('mmnothing is not installed')


def test_what_a_package_lacks_is_named(package):
    package('mmfake', 'import ftfy_of_nobody')
    assert message_of('mmfake').startswith('mmfake needs ftfy_of_nobody')


def test_a_refused_version_is_reported(package):
    package('mmfake', "assert False, 'MMCV==2.2.0 is used but incompatible.'")
    assert message_of('mmfake').startswith('mmfake refuses an installed package (MMCV==2.2.0 is')


def test_other_errors_are_not_hidden(package):
    package('mmfake', '1 / 0')
    with pytest.raises(ZeroDivisionError):
        require('mmfake')


def hide(name, monkeypatch):
    for loaded in [item for item in sys.modules if item.split('.')[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, name, None)


def test_a_config_whose_toolbox_is_missing_says_so(monkeypatch, tmp_path):
    hide('mmdet', monkeypatch)
    config = tmp_path / 'config.py'
    config.write_text("default_scope = 'mmdet'\n")
    with pytest.raises(UserError, match='mmdet is not installed; add it with: pip install'):
        load_config(str(config))


def test_a_custom_import_that_fails_says_why(package, tmp_path):
    package('mmfake', 'import ftfy_of_nobody')
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['mmfake'], allow_failed_imports=False)\n")
    with pytest.raises(UserError, match=r"mmfake: No module named 'ftfy_of_nobody'"):
        load_config(str(config))


def test_missing_mmdet_is_named_by_the_real_refusal(monkeypatch):
    """mmdet's own assertion about mmcv, as a user meets it."""
    mmcv = pytest.importorskip('mmcv')
    source = Path(importlib.util.find_spec('mmdet').origin).read_text()
    if 'mmcv_version' not in source:
        pytest.skip('this mmdet, a fork from 3.5 on, takes every mmcv')
    for name in [name for name in sys.modules if name.split('.')[0] == 'mmdet']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(mmcv, '__version__', '1.7.0')
    text = message_of('mmdet')
    assert 'MMCV==1.7.0' in text

"""What is done once somebody imports transformers, here with a stand-in for it."""

import sys
import types

import pytest

from mmvmamba.hub import transformers_classes


@pytest.mark.parametrize('version', ['4.57.6', '5.0.0', '5.4.1'])
def test_old_transformers_is_left_alone(version, monkeypatch):
    """It lacks what our classes import, and would not be importable itself."""
    monkeypatch.setitem(sys.modules, 'transformers', types.SimpleNamespace(__version__=version))
    auto = types.ModuleType('auto')
    transformers_classes._register(auto)
    assert not hasattr(auto, 'AutoModel')


@pytest.mark.parametrize('version', ['5.5.0', '5.24.0', '6.0.0.dev0'])
def test_newer_transformers_is_asked_for_its_classes(version, monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', types.SimpleNamespace(__version__=version))
    with pytest.raises((ImportError, AttributeError), match=r'PreTrainedConfig|AutoConfig'):
        transformers_classes._register(types.ModuleType('auto'))

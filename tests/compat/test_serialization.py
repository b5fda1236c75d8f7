"""What ``torch.load(weights_only=True)`` takes once mmvmamba is imported, and what it refuses."""

import argparse
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvmamba.compat.serialization import SAFE_GLOBALS, _statistic


def round_trip(value, path):
    torch.save(value, path)
    return torch.load(path, weights_only=True)


def test_history_buffer_keeps_values_and_statistics(tmp_path):
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    loaded = round_trip(dict(loss=buffer), tmp_path / 'a.pth')['loss']
    assert loaded.mean() == 2.0
    assert loaded.statistics('max') == 3.0
    assert loaded.data[0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    'dtype', ['bool', 'int32', 'int64', 'uint8', 'float16', 'float32', 'float64']
)
def test_numpy_arrays_and_scalars(dtype, tmp_path):
    array = np.array([[0, 1], [1, 0]], dtype=dtype)
    loaded = round_trip(dict(array=array, scalar=array[0, 1]), tmp_path / 'a.pth')
    np.testing.assert_array_equal(loaded['array'], array, strict=True)
    assert loaded['scalar'] == array[0, 1]
    assert loaded['scalar'].dtype == array.dtype


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_files_of_either_numpy_load(module, tmp_path):
    names = {name for _, name in SAFE_GLOBALS}
    assert {f'{module}._reconstruct', f'{module}.scalar'} <= names


def test_namespace(tmp_path):
    loaded = round_trip(dict(args=argparse.Namespace(lr=0.1)), tmp_path / 'a.pth')
    assert loaded['args'].lr == 0.1


class Evil:
    def __reduce__(self):
        return print, ('run',)


class GetAttr:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@pytest.mark.parametrize('culprit', [Evil(), GetAttr()], ids=['call', 'getattr'])
def test_anything_else_is_refused(culprit, tmp_path, capsys):
    torch.save(culprit, tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'evil.pth', weights_only=True)
    assert capsys.readouterr().out == ''


def test_getattr_reaches_statistics_alone():
    assert _statistic(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in [(HistoryBuffer, '__init__'), (dict, 'min'), (torch, 'load')]:
        with pytest.raises(pickle.UnpicklingError, match='statistics'):
            _statistic(owner, name)

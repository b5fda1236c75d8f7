"""What ``torch.load(weights_only=True)`` takes once mmvmamba is imported, and what it refuses."""

import argparse
import copy
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmvmamba.compat.serialization import SAFE_GLOBALS
from tests.pickle_writer import build, call, dict_of, get, glob, make, put, value, zip_file

HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
FLOAT64 = (3, '<', None, None, None, -1, -1, 0)


def round_trip(content, path):
    torch.save(content, path)
    return torch.load(path, weights_only=True)


def load(opcodes, path):
    """Loads ``{'a': ...}`` and gives what was made of the opcodes."""
    zip_file(path, dict_of((value('a'), opcodes)))
    return torch.load(path, weights_only=True)['a']


def dtype(code='f8', state=FLOAT64):
    return build(call('numpy.dtype', value(code), value(False), value(True)), value(state))


def array(state, shape=(0,), module='numpy.core.multiarray'):
    name = f'{module}._reconstruct'
    return build(call(name, glob('numpy.ndarray'), value(shape), value(b'b')), state)


def array_state(data, shape=(1,), kind=None):
    parts = (value(1), value(shape), kind or dtype(), value(False), value(data))
    return pickle.MARK + b''.join(parts) + pickle.TUPLE


def test_history_buffer_keeps_values_and_statistics(tmp_path):
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    loaded = round_trip(dict(loss=buffer), tmp_path / 'a.pth')['loss']
    assert type(loaded) is HistoryBuffer
    assert loaded.mean() == 2.0
    assert loaded.statistics('max') == 3.0
    assert loaded.data[0].tolist() == [1.0, 3.0]
    assert type(loaded.data[0]) is np.ndarray
    assert round_trip(loaded, tmp_path / 'b.pth').data[1].tolist() == [1, 1]


def test_message_hub_is_resumed(tmp_path):
    hub = MessageHub.get_instance('written')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('weights', np.arange(3.0))
    hub.update_info('best', np.float64(0.25))
    loaded = round_trip(hub.state_dict(), tmp_path / 'a.pth')
    resumed = MessageHub.get_instance('resumed')
    resumed.load_state_dict(loaded)
    assert resumed.get_scalar('train/loss').current() == 0.5
    assert type(resumed.get_info('weights')) is np.ndarray
    assert resumed.get_info('weights').tolist() == [0.0, 1.0, 2.0]
    assert resumed.get_info('best') == 0.25


@pytest.mark.parametrize('code', ['?', '<i4', '<i8', '|u1', '<f2', '<f4', '<f8', '>f8', '<c8'])
def test_numpy_arrays_and_scalars(code, tmp_path):
    numbers = np.array([[0, 1], [1, 0]], dtype=code)
    content = dict(array=numbers, fortran=numbers.T, scalar=numbers[0, 1], empty=numbers[:0])
    loaded = round_trip(content, tmp_path / 'a.pth')
    # numpy turns foreign byte orders into its own.
    expected = pickle.loads(pickle.dumps(content, protocol=2))
    for name in content:
        np.testing.assert_array_equal(loaded[name], expected[name], strict=True)
    np.testing.assert_array_equal(loaded['array'], numbers)


def test_loaded_array_is_pickled_copied_and_saved_as_a_plain_one(tmp_path):
    loaded = round_trip(np.arange(3.0), tmp_path / 'a.pth')
    again = [pickle.loads(pickle.dumps(loaded, protocol)) for protocol in (2, 4, 5)]
    again += [copy.copy(loaded), copy.deepcopy(loaded), round_trip(loaded + 0, tmp_path / 'b.pth')]
    assert all(one.tolist() == [0.0, 1.0, 2.0] for one in again)
    assert [type(one) for one in again[:5]] == [np.ndarray] * 5
    # A copy owns its numbers.
    again[3][0] = again[4][0] = 7
    assert loaded[0] == 0


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_files_of_either_numpy_load(module, tmp_path):
    raw = np.float64(1.5).tobytes()
    assert load(array(array_state(raw), module=module), tmp_path / 'a.pth').tolist() == [1.5]
    assert load(call(f'{module}.scalar', dtype(), value(raw)), tmp_path / 'b.pth') == 1.5


def test_namespace(tmp_path):
    loaded = round_trip(dict(args=argparse.Namespace(lr=0.1)), tmp_path / 'a.pth')
    assert type(loaded['args']) is argparse.Namespace
    assert loaded['args'] == argparse.Namespace(lr=0.1)


def test_yacs_config_becomes_a_dict(tmp_path, monkeypatch):
    # The part of yacs that counts: a dict with attributes.
    def init(self, settings):
        dict.__init__(self, settings)
        self.__dict__.update(__immutable__=True, __deprecated_keys__=set(), __renamed_keys__={})

    node = type('CfgNode', (dict,), dict(__module__='yacs.config', __init__=init))
    module = types.ModuleType('yacs.config')
    module.CfgNode = node
    monkeypatch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
    monkeypatch.setitem(sys.modules, 'yacs.config', module)
    config = node({'MODEL': node({'DEPTHS': [2, 2], 'NAME': 'vssm'}), 'SEED': 0})
    torch.save(dict(config=config, model={'a': torch.ones(2)}), tmp_path / 'a.pth')
    monkeypatch.delitem(sys.modules, 'yacs.config')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)['config']
    assert loaded == {'MODEL': {'DEPTHS': [2, 2], 'NAME': 'vssm'}, 'SEED': 0}
    assert type(loaded) is type(loaded['MODEL']) is OrderedDict


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


def statistics(owner, name):
    return call('builtins.getattr', glob(owner), value(name))


filled_twice = (
    array(array_state(bytes(8))) + put(9) + get(9) + array_state(bytes(80), (10,)) + pickle.BUILD
)

FORGED = {
    'array of pointers': call('numpy.ndarray', value((1,)), value('O'), value(b'A' * 8)),
    'new array of pointers': make('numpy.ndarray', value((1,)), value('O'), value(b'A' * 8)),
    'reconstructed with a shape': array(array_state(bytes(8)), shape=(10**9,)),
    'dtype of objects': dtype('O8'),
    'dtype of text': dtype('U100'),
    'dtype of fields': dtype('f8,O'),
    'dtype of no size': dtype('f3'),
    'dtype flags': dtype('f8', (3, '|', None, None, None, -1, -1, 63)),
    'dtype size': dtype('f8', (3, '|', None, None, None, 4096, 1, 0)),
    'dtype byte order': dtype('f8', (3, 'O', None, None, None, -1, -1, 0)),
    'dtype fields': dtype('f8', (3, '|', None, ('a',), {'a': 1}, 8, 1, 27)),
    'array of too few bytes': array(array_state(bytes(8), (10**6,))),
    'array of negative shape': array(array_state(bytes(8), (-1,))),
    'array of huge shape': array(array_state(b'', (2**40, 2**40))),
    'array that is filled twice': filled_twice,
    'array of a list': array(array_state(bytes(8), kind=value([1]))),
    'scalar of objects': call('numpy.core.multiarray.scalar', dtype('O8'), value(b'A' * 8)),
    'scalar of too few bytes': call('numpy.core.multiarray.scalar', dtype(), value(b'A')),
    'history without arrays': build(make(HISTORY), value({'_log_history': [1], 'max_length': 1})),
    'history with text as state': build(make(HISTORY), value('min')),
    'history with arguments': call(HISTORY, value([1]), value([1])),
    'method of a history': statistics(HISTORY, '__init__'),
    'method of a class': statistics('collections.OrderedDict', 'min'),
    'namespace of another class': build(make('argparse.Namespace'), value({'__class__': 1})),
    'namespace of slots': build(make('argparse.Namespace'), value((None, {'a': 1}))),
    'namespace with arguments': make('argparse.Namespace', value(1)),
    'config with arguments': call('yacs.config.CfgNode', value({'a': 1})),
}


@pytest.mark.parametrize('opcodes', FORGED.values(), ids=FORGED)
def test_forged_objects_are_refused(opcodes, tmp_path):
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        load(opcodes, tmp_path / 'forged.pth')


def test_a_file_does_not_change_the_class_of_its_histories(tmp_path):
    before = dict(HistoryBuffer._statistics_methods)
    arrays = {name: array(array_state(bytes(8))) for name in ('_log_history', '_count_history')}
    methods = dict_of((value('mean'), value(3)), (value('run'), statistics(HISTORY, 'min')))
    state = dict_of(
        (value('statistics_methods'), methods),
        (value('_set_default_statistics'), value(3)),
        (value('max_length'), value(10)),
        *((value(name), opcodes) for name, opcodes in arrays.items()),
    )
    loaded = load(build(make(HISTORY), state), tmp_path / 'a.pth')
    assert HistoryBuffer._statistics_methods == before
    assert set(vars(loaded)) == {'max_length', '_log_history', '_count_history'}
    assert loaded.current() == 0


def test_no_entry_is_a_class_that_a_file_names():
    real = {np.ndarray, np.dtype, HistoryBuffer, argparse.Namespace, getattr}
    assert not real & {entry for entry, _ in SAFE_GLOBALS if isinstance(entry, type)}
    assert set(SAFE_GLOBALS) <= set(torch.serialization.get_safe_globals())

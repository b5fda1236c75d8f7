"""What a checkpoint may contain beside tensors, and what is made of it.

torch >= 2.6 unpickles with ``weights_only=True`` and refuses every class it was not told about;
mmengine 0.10.7 stores its ``HistoryBuffer`` and numpy arrays in each checkpoint and so cannot load
its own files. ``SAFE_GLOBALS`` is the one list of what is allowed; nothing else is ever unpickled.

No entry of the list is the class that a file names, because a file may call what it is given with
any arguments: ``numpy.ndarray`` takes a buffer of bytes for objects, ``numpy.dtype`` takes flags,
and ``HistoryBuffer`` puts functions of the file's choice into the class. Each is a stand-in that
checks what it gets and makes the real thing.
"""

import argparse
import math
import pickle
import re
from collections import OrderedDict
from typing import NoReturn, SupportsIndex

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

__all__ = ['SAFE_GLOBALS', 'allow_safe_globals']

_STATISTICS = ('min', 'max', 'current', 'mean')
# Booleans, integers, floats and complex numbers. Objects ('O') are pointers.
_NUMERIC = re.compile(r'([<>=|]?)(\?|[biufc]\d{1,2})')
# The state of a dtype without fields, but for its byte order: version, byte order, subarray, names,
# fields, size, alignment, flags.
_DTYPE_STATE = (3, None, None, None, -1, -1, 0)


def _refuse(what: str) -> NoReturn:
    raise pickle.UnpicklingError(f'a checkpoint may not hold {what}')


class _NoClass:
    """Stands for ``numpy.ndarray`` where a file names it; refuses to be called."""

    def __call__(self, *args: object) -> NoReturn:
        _refuse(f'a call of numpy.ndarray with {args!r:.80}')

    def __repr__(self) -> str:
        return 'numpy.ndarray'


_NDARRAY = _NoClass()


class _DType:
    """Stands for ``numpy.dtype``: a numeric type that a file spells out."""

    dtype: np.dtype

    def __new__(cls, code: str = '', align: bool = False, copy: bool = True) -> '_DType':
        match = _NUMERIC.fullmatch(code) if isinstance(code, str) else None
        if match is None:
            _refuse(f'numpy data of type {code!r}')
        made = super().__new__(cls)
        try:
            made.dtype = np.dtype(code)
        except TypeError:
            _refuse(f'numpy data of type {code!r}')
        return made

    def __setstate__(self, state: tuple) -> None:
        if not isinstance(state, tuple) or (*state[:1], *state[2:]) != _DTYPE_STATE:
            _refuse(f'a numpy type in the state {state!r}')
        if state[1] not in ('<', '>', '=', '|'):
            _refuse(f'a numpy type of byte order {state[1]!r}')
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that a file fills once, with the bytes of numbers.

    It stays of this class, because torch offers no way to put another object in its place; it is
    pickled and copied as a plain array.
    """

    def __new__(cls, *args: object) -> '_Array':
        if args:
            _refuse(f'a call of numpy.ndarray with {args!r:.80}')
        return super().__new__(cls, (0,), np.int8)

    def __array_finalize__(self, source: object) -> None:
        # What is computed or cut from an array is filled already; a file's own begins empty.
        self._filled = source is not None

    def __setstate__(self, state: tuple) -> None:
        if self._filled or not isinstance(state, tuple) or len(state) != 5:
            _refuse('a numpy array that is filled in another way than numpy does')
        version, shape, dtype, fortran, data = state
        if version != 1 or type(dtype) is not _DType or type(data) is not bytes:
            _refuse(f'a numpy array of {dtype!r:.80}')
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            _refuse(f'a numpy array of shape {shape!r:.80}')
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            _refuse(f'a numpy array of shape {shape} with {len(data)} bytes')
        self._filled = True
        # numpy's stubs ask for a numpy.bool, which its own parser refuses.
        super().__setstate__((1, shape, dtype.dtype, bool(fortran), data))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple:
        return np.array(self).__reduce_ex__(protocol)

    def __copy__(self) -> np.ndarray:
        return np.array(self)

    def __deepcopy__(self, memo: dict | None) -> np.ndarray:
        return np.array(self)


def _reconstruct(kind: object, shape: tuple, typecode: bytes) -> _Array:
    """Stands for numpy's function of that name, which makes the array that is filled next."""
    if kind is not _NDARRAY or shape != (0,):
        _refuse(f'an array of class {kind!r:.80} and shape {shape!r:.80}')
    return _Array()


def _scalar(dtype: _DType, data: bytes) -> np.generic:
    """Stands for numpy's function of that name."""
    if type(dtype) is not _DType or type(data) is not bytes or len(data) != dtype.dtype.itemsize:
        _refuse(f'a numpy scalar of {dtype!r:.80}')
    return np.frombuffer(data, dtype.dtype)[0]


def _no_bytes() -> bytes:
    """Stands for ``bytes``, by a call of which protocol 2 writes that there are none."""
    return b''


class _HistoryBuffer(HistoryBuffer):
    """Stands for ``HistoryBuffer``, whose ``__setstate__`` changes the class for the process."""

    def __new__(cls, *args: object) -> '_HistoryBuffer':
        if args:
            _refuse('a HistoryBuffer made with arguments')
        made = super().__new__(cls)
        made.__init__()
        return made

    def __setstate__(self, state: dict) -> None:
        if not isinstance(state, dict):
            _refuse('a HistoryBuffer whose state is no dict')
        history = state.get('_log_history'), state.get('_count_history')
        length = state.get('max_length')
        if not all(isinstance(part, np.ndarray) for part in history) or type(length) is not int:
            _refuse('a HistoryBuffer without its two arrays and their greatest length')
        self.max_length = length
        self._log_history, self._count_history = map(np.array, history)
        # The statistics that a file names are those that the class has.
        self.__class__ = HistoryBuffer


def _statistic(owner: type, name: str) -> str:
    """Stands for the ``getattr`` by which a pickled ``HistoryBuffer`` names its statistics.

    The real ``getattr`` would reach anything, so it is not allowed.
    """
    if owner is not _HistoryBuffer or name not in _STATISTICS:
        _refuse(f'{name!r:.80} of {owner!r:.80}, only {_STATISTICS} of HistoryBuffer')
    return name


class _Namespace(argparse.Namespace):
    """Stands for ``argparse.Namespace``, which Vim's files hold."""

    def __new__(cls, *args: object) -> '_Namespace':
        if args:
            _refuse('a Namespace made with arguments')
        return super().__new__(cls)

    def __setstate__(self, state: dict) -> None:
        if not isinstance(state, dict) or not all(map(_is_attribute, state)):
            _refuse('a Namespace with attributes that no argument can have')
        self.__dict__.update(state)
        self.__class__ = argparse.Namespace  # type: ignore[assignment]


def _is_attribute(name: object) -> bool:
    return isinstance(name, str) and not (name.startswith('__') and name.endswith('__'))


class _CfgNode:
    """Stands for yacs' ``CfgNode``, a dict with settings in its attributes: becomes a dict.

    torch fills an ``OrderedDict`` and its attributes, and no other class of dict.
    """

    def __new__(cls, *args: object) -> OrderedDict:  # type: ignore[misc]
        if args:
            _refuse('a CfgNode made with arguments')
        return OrderedDict()


def _numpy_globals() -> list[tuple[object, str]]:
    # numpy 2 renamed numpy.core; files written by either must load under either.
    named = [(_NDARRAY, 'numpy.ndarray'), (_DType, 'numpy.dtype'), (_Array, '')]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        named += [(_reconstruct, f'{module}._reconstruct'), (_scalar, f'{module}.scalar')]
    return named


SAFE_GLOBALS: list[tuple[object, str]] = [
    (_HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_statistic, 'builtins.getattr'),
    (_no_bytes, 'builtins.bytes'),
    (_Namespace, 'argparse.Namespace'),
    (_CfgNode, 'yacs.config.CfgNode'),
    *_numpy_globals(),
]
"""Pairs of an object and the full name under which a file may ask for it."""


def allow_safe_globals() -> None:
    """Tells torch that files with the classes of ``SAFE_GLOBALS`` may be loaded."""
    # Not all of them can be called: that is the point of one.
    torch.serialization.add_safe_globals(SAFE_GLOBALS)  # type: ignore[arg-type]

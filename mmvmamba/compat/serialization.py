"""The classes that a checkpoint may contain beside tensors.

torch >= 2.6 unpickles with ``weights_only=True`` and refuses every class it was not told about;
mmengine 0.10.7 stores its ``HistoryBuffer`` and numpy arrays in each checkpoint and so cannot load
its own files. This is the one list of what is allowed; nothing else is ever unpickled.
"""

import argparse
import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

__all__ = ['SAFE_GLOBALS', 'allow_safe_globals']

_STATISTICS = ('min', 'max', 'current', 'mean')
_NUMPY_TYPES = (
    'bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64',
    'float16', 'float32', 'float64',
)  # fmt: skip


def _statistic(owner: type, name: str) -> Callable:
    """Stand in for the ``getattr`` by which a pickled ``HistoryBuffer`` names its statistics.

    The real ``getattr`` would reach anything, so it is not allowed.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(
            f'a checkpoint may refer to the statistics {_STATISTICS} of HistoryBuffer, '
            f'got {name!r} of {owner!r}'
        )
    return getattr(owner, name)


def _numpy_globals() -> list[tuple[Callable, str]]:
    reconstruct = np.ndarray.__reduce__(np.zeros(1))[0]
    scalar = np.float64(0).__reduce__()[0]
    # numpy 2 renamed numpy.core; files written by either must load under either.
    named = [(np.ndarray, 'numpy.ndarray'), (np.dtype, 'numpy.dtype')]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        named += [(reconstruct, f'{module}._reconstruct'), (scalar, f'{module}.scalar')]
    for name in _NUMPY_TYPES:
        dtype = type(np.dtype(name))
        named.append((dtype, f'{dtype.__module__}.{dtype.__name__}'))
    return named


SAFE_GLOBALS = [
    (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (argparse.Namespace, 'argparse.Namespace'),
    (_statistic, 'builtins.getattr'),
    *_numpy_globals(),
]
"""Pairs of an object and the full name under which a file may ask for it."""


def allow_safe_globals() -> None:
    """Tell torch that files with the classes of ``SAFE_GLOBALS`` may be loaded."""
    torch.serialization.add_safe_globals(SAFE_GLOBALS)

"""Values of Python, numpy and torch as JSON, which reads back to equal ones and runs nothing."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ['from_json', 'to_json']

PLAIN = (str, int, float, bool, type(None))


def to_json(value: Any) -> Any:
    """What ``json`` can write of a value.

    Args:
        value: Numbers, text, bytes, arrays and tensors, in lists, tuples and dicts.

    Raises:
        TypeError: The value, or one in it, is of another type.
    """
    if isinstance(value, np.generic):
        return {'scalar': _array(np.asarray(value))}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, tuple):
        return {'tuple': [to_json(item) for item in value]}
    if isinstance(value, dict):
        return {'dict': [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, bytes):
        return {'bytes': base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {'array': _array(value)}
    if isinstance(value, torch.Tensor):
        return {'tensor': _array(value.detach().cpu().numpy())}
    raise TypeError(f'a {type(value).__name__} cannot be written as JSON')


def from_json(value: Any) -> Any:
    """The value of which ``to_json`` made this."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _READERS[kind](content)


def _array(array: np.ndarray) -> list:
    data = base64.b64encode(array.tobytes()).decode()
    return [array.dtype.str, list(array.shape), data]


def _read_array(content: list) -> np.ndarray:
    dtype, shape, data = content
    return np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape).copy()


_READERS: dict[str, Callable[[Any], Any]] = {
    'tuple': lambda content: tuple(from_json(item) for item in content),
    'dict': lambda content: {from_json(key): from_json(item) for key, item in content},
    'bytes': base64.b64decode,
    'array': _read_array,
    'scalar': lambda content: _read_array(content)[()],
    'tensor': lambda content: torch.from_numpy(_read_array(content)),
}

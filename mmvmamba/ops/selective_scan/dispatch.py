"""Which backend runs a scan, and what a backend is.

A backend is a module of this package with three functions over canonical arguments (``ScanArgs``;
any strides, float32 or float64 arithmetic whatever the dtypes). It never sees ``z``, user layouts
or autograd; the caller has switched autocast off.

``unavailable_reason(device, dtype, state) -> str | None``
    None if the backend can run a scan of that device (``torch.device``), dtype of ``u`` and state
    size; else the reason, ending with the command that would make it available where there is one.
    It may import the backend's library, inside ``try``/``except ImportError``; importing the
    backend's module imports nothing but torch.

``forward(args, chunk_length, with_last_state) -> (out, last_state, checkpoints)``
    - ``out``: ``(batch, length, dim)``, contiguous, dtype of ``args.u``: the sum over directions,
      each output at its token's own place.
    - ``last_state``: ``(batch, K, dim, state)``, contiguous, ``args.compute_dtype``; None unless
      ``with_last_state``.
    - ``checkpoints``: the states *before* steps 0, chunk_length, 2 * chunk_length, ... of each
      direction (the first is zero), ``(batch, K, ceil(length / chunk_length), state, dim)``,
      contiguous, ``args.compute_dtype``; None if ``chunk_length`` is 0, which means that no
      gradient will be asked for.

``backward(args, chunk_length, checkpoints, grad_out, grad_last_state)``
    Returns ``(du, ddelta, dA, dB, dC, dD, ddelta_bias)``. ``grad_out`` is as ``out`` in any
    strides; ``grad_last_state`` as ``last_state`` or None. Each gradient has the shape of its
    argument in ``args`` (summed over what the argument is shared by) and its dtype (sums are taken
    in ``compute_dtype``); dD and ddelta_bias are None where the argument is. Results are the same
    in every run.

All tensors returned are fresh memory, never a view of an argument. The layout of the checkpoints is
part of the protocol, so that the forward of one backend can be followed by the backward of another.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import torch

__all__ = ['BACKENDS', 'available_backends', 'chunk_length_for', 'scan_backend', 'select_backend']

# Name of a backend -> its module; `auto` takes the first that can run.
BACKENDS = {'triton': 'triton', 'numba': 'cpu', 'mamba_ssm': 'mamba_ssm', 'torch': 'torch_loop'}
CHOICES = ('auto', *BACKENDS)
VARIABLE = 'MMVMAMBA_SCAN_BACKEND'

# Steps between two checkpoints; in the backward pass a backend holds the states of one chunk.
CHUNK_LENGTHS = {'cpu': 64, 'cuda': 64}

# With MMVMAMBA_DEBUG=1, scans check the values of their arguments as well
# (ops/selective_scan/arguments.py).
DEBUG_VARIABLE = 'MMVMAMBA_DEBUG'

_logger = logging.getLogger(__name__)
_logged: set[tuple[str, str, torch.dtype]] = set()
_forced: list[str] = []


def check_backend_name(name: str, source: str) -> str:
    """Returns ``name`` if it is a choice, else raises with the ``source`` of the wrong name."""
    if name not in CHOICES:
        raise ValueError(f'{source} must be one of {list(CHOICES)}, got {name!r}')
    return name


@contextmanager
def scan_backend(name: str) -> Iterator[None]:
    """Forces a backend (or ``'auto'``) for the scans called inside, their backward passes included.

    An argument ``backend=`` of a single call still wins.

    Args:
        name: One of ``'auto', 'triton', 'numba', 'mamba_ssm', 'torch'``.
    """
    _forced.append(check_backend_name(name, 'scan_backend'))
    try:
        yield
    finally:
        _forced.pop()


def requested_backend(argument: str | None) -> str:
    """The argument, else the innermost ``scan_backend``, else the environment, else ``'auto'``."""
    if argument is not None:
        return check_backend_name(argument, 'backend')
    if _forced:
        return _forced[-1]
    return check_backend_name(os.environ.get(VARIABLE, 'auto'), VARIABLE)


def select_backend(name: str, device: torch.device, dtype: torch.dtype, state: int) -> ModuleType:
    """The module of a backend that can run, logged once for each kind of input.

    Raises:
        RuntimeError: if the backend asked for cannot run here, with the reason.
    """
    if name == 'auto':
        chosen = next(iter(available_backends(device, dtype, state)))
    else:
        chosen = name
        reason = backend_module(name).unavailable_reason(device, dtype, state)
        if reason is not None:
            raise RuntimeError(f'selective scan backend {name!r} cannot run here: {reason}')
    kind = (chosen, device.type, dtype)
    if kind not in _logged:
        _logged.add(kind)
        _logger.info('selective scan: backend %s for %s on %s', chosen, dtype, device.type)
    return backend_module(chosen)


def available_backends(
    device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32, state: int = 16
) -> list[str]:
    """The names of the backends that can run, in the order in which ``auto`` prefers them."""
    device = torch.device(device)
    return [
        name
        for name in BACKENDS
        if backend_module(name).unavailable_reason(device, dtype, state) is None
    ]


def backend_module(name: str) -> ModuleType:
    return import_module(f'.{BACKENDS[name]}', __package__)


def debug_mode() -> bool:
    return os.environ.get(DEBUG_VARIABLE, '0') == '1'


def chunk_length_for(device: torch.device) -> int:
    """Steps between the states that are kept for the backward pass."""
    return CHUNK_LENGTHS.get(device.type, 64)

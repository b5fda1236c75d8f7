"""Which backend runs a scan, and what a backend is.

A backend (``mmvmamba/ops/backends.py``) is a module of this package with three functions over
canonical arguments (``ScanArgs``; any strides, float32 or float64 arithmetic whatever the dtypes).
It never sees ``z``, user layouts or autograd; the caller has switched autocast off.

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
from contextlib import AbstractContextManager, nullcontext

import torch

from mmvmamba.ops.backends import Backends

__all__ = ['SCAN', 'available_backends', 'chunk_length_for', 'scan_backend', 'without_autocast']

# A backend's size is that of the state.
SCAN = Backends(
    'selective scan',
    {
        'triton': 'triton',
        'numba': 'numba',
        'mamba_ssm': 'mamba_ssm',
        'hub': 'hub_kernel',
        'torch': 'torch',
        'export': 'export',
    },
    package=__package__,
    variable='MMVMAMBA_SCAN_BACKEND',
    logger=logging.getLogger(__name__),
    on_request=('export',),
)

# Steps between two checkpoints; in the backward pass a backend holds the states of one chunk.
CHUNK_LENGTHS = {'cpu': 64, 'cuda': 64}
# Where a state is one number: a chunk's states are held in registers, and there are few to keep.
SINGLE_STATE_CHUNK_LENGTHS = {'cuda': 8}

# With MMVMAMBA_DEBUG=1, scans check the values of their arguments as well
# (ops/selective_scan/arguments.py).
DEBUG_VARIABLE = 'MMVMAMBA_DEBUG'


def scan_backend(name: str) -> AbstractContextManager[None]:
    """Forces a backend (or ``'auto'``) for the scans called inside, their backward passes included.

    Holds for the thread or the task that enters it, not for others that run meanwhile.

    An argument ``backend=`` of a single call still wins.

    Args:
        name: One of ``'auto', 'triton', 'numba', 'mamba_ssm', 'hub', 'torch', 'export'``.
    """
    return SCAN.force(name, 'scan_backend')


def available_backends(
    device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32, state: int = 16
) -> list[str]:
    """The names that ``auto`` chooses from, of those that can run, the preferred one first."""
    return SCAN.available(torch.device(device), dtype, state)


def debug_mode() -> bool:
    return os.environ.get(DEBUG_VARIABLE, '0') == '1'


def chunk_length_for(device: torch.device, state: int) -> int:
    """Steps between the states that are kept for the backward pass."""
    length = CHUNK_LENGTHS.get(device.type, 64)
    return SINGLE_STATE_CHUNK_LENGTHS.get(device.type, length) if state == 1 else length


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off inside.

    Where it is off already, nothing is done: that takes time, and a tracer would keep it as a part
    of its graph.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()

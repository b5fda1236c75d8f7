"""Which backend runs deformable attention, and what a backend is.

A backend (``mmvmamba/ops/backends.py``) is a module of this package with three functions. Their
arguments have the shapes of ``ms_deform_attn_ref``, are not empty, and are contiguous; sums are
taken in at least float32, whatever the dtypes. The caller has switched autocast off.

``unavailable_reason(device, dtype, channels) -> str | None``
    See ``Backends``; the dtype is that of ``value``, ``channels`` are those of one head.

``forward(value, shapes, locations, weights) -> out``
    ``(batch, queries, heads * channels)``, contiguous, in the dtype of ``value``.

``backward(value, shapes, locations, weights, grad_out) -> (dvalue, dlocations, dweights)``
    Each with the shape and dtype of its argument. Samples are taken again, not kept.
"""

import logging
from contextlib import AbstractContextManager

import torch

from mmvmamba.ops.backends import Backends

__all__ = ['DEFORM_ATTN', 'available_backends', 'deform_attn_backend']

# A backend's size is that of a head: its channels.
DEFORM_ATTN = Backends(
    'deformable attention',
    # 'export' is the form of 'torch' without the operator around it, for graphs that leave PyTorch.
    {'mmcv': 'mmcv', 'triton': 'triton', 'numba': 'numba', 'torch': 'torch', 'export': 'torch'},
    package=__package__,
    variable='MMVMAMBA_DEFORM_ATTN_BACKEND',
    logger=logging.getLogger(__name__),
    on_request=('export',),
)


def deform_attn_backend(name: str) -> AbstractContextManager[None]:
    """Forces a backend (or ``'auto'``) for the calls inside, their backward passes included.

    An argument ``backend=`` of a single call still wins.

    Args:
        name: One of ``'auto', 'mmcv', 'triton', 'numba', 'torch', 'export'``.
    """
    return DEFORM_ATTN.force(name, 'deform_attn_backend')


def available_backends(
    device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32, channels: int = 32
) -> list[str]:
    """The names of the backends that can run, in the order in which ``auto`` prefers them."""
    return DEFORM_ATTN.available(torch.device(device), dtype, channels)

"""Finding out that shared memory is too small before workers hang or die of it.

A worker that cannot place a batch in ``/dev/shm`` loses it without telling the process that waits
for it, or is killed by a bus error.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from .run_errors import RunError, out_of_shared_memory

__all__ = ['guard_shared_memory']

SHARED_MEMORY = '/dev/shm'
PAGE = 4096


def guard_shared_memory(loader: DataLoader) -> None:
    """Has the workers of a data loader look for room before they hand over a batch."""
    if loader.num_workers and os.path.isdir(SHARED_MEMORY):
        loader.collate_fn = _GuardedCollate(loader.collate_fn)


class _GuardedCollate:
    def __init__(self, collate: Callable) -> None:
        self.collate = collate

    def __call__(self, samples: list) -> object:
        batch = self.collate(samples)
        worker = get_worker_info()
        if worker is not None:
            # The other workers may be about to hand over one of the same size.
            _check_room(worker.num_workers * sum(map(_size, _tensors(batch))))
        return batch


def _check_room(needed: int) -> None:
    state = os.statvfs(SHARED_MEMORY)
    free = state.f_bavail * state.f_frsize
    if free < needed:
        raise RunError(out_of_shared_memory(needed, free))


def _size(tensor: Tensor) -> int:
    """Bytes that handing over takes: whole pages, nothing if it is in shared memory already."""
    if tensor.is_shared():
        return 0
    return -(-tensor.untyped_storage().nbytes() // PAGE) * PAGE


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
        return
    if isinstance(batch, BaseDataElement):
        batch = batch.all_values()
    elif isinstance(batch, dict):
        batch = batch.values()
    elif not isinstance(batch, list | tuple):
        return
    for item in batch:
        yield from _tensors(item)

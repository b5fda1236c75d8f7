"""Which memory is held at a time, counted by the tensors that operators return."""

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ['AllocationCount']


class AllocationCount(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, and notes when they are most.

    Tensors without data count as those that have it. What an operator takes and gives back before
    it returns is not seen.

    Args:
        rest: The kind of all tensors that are not said to be of another.
        shares: The part of a kind's bytes that counts; 1 where it is left out.

    Attributes:
        alive: Bytes by kind at the time.
        peak: Bytes by kind when the sum of what counts was largest.
        largest: The most bytes of each kind, whenever that was.
    """

    def __init__(self, rest: str, shares: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.rest = rest
        self.shares = dict(shares or {})
        self.alive: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()
        self._most = 0.0
        # Address of a storage: its kind and bytes.
        self._known: dict[int, tuple[str, int]] = {}

    def add(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Counts tensors to a kind, whatever they counted to before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            address = storage._cdata
            if address in self._known:
                before, size = self._known[address]
                self.alive[before] -= size
            else:
                size = storage.nbytes()
                end = weakref.finalize(storage, self._free, address)
                end.atexit = False  # type: ignore[misc]  # typeshed takes the property for a slot
            self._known[address] = kind, size
            self.alive[kind] += size
            self.largest[kind] = max(self.largest[kind], self.alive[kind])
        counted = sum(size * self.shares.get(kind, 1) for kind, size in self.alive.items())
        if counted > self._most:
            self._most, self.peak = counted, self.alive.copy()

    def begin_anew(self) -> None:
        """Forgets the largest sums so far, not what is alive."""
        self._most, self.largest = 0.0, self.alive.copy()

    def _free(self, address: int) -> None:
        kind, size = self._known.pop(address)
        self.alive[kind] -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        found = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.add((x for x in found if x.untyped_storage()._cdata not in self._known), self.rest)
        return result

"""Tables of constants that depend on sizes alone, made on the device that reads them, once.

A table that came from the host would be a copy that the host waits for, and no CUDA graph can hold
such a copy.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .symbolic import one_call

__all__ = ['cached_table', 'is_capturing', 'table_of', 'tables_apart']

Table = TypeVar('Table', bound=Callable[..., Any])

_apart: ContextVar[dict[Hashable, Any] | None] = ContextVar('tables apart', default=None)


def cached_table(maxsize: int) -> Callable[[Table], Table]:
    """Keeps what a function of sizes returns; its callers share it and never write to it.

    What is kept are plain tensors wherever the function is called first: those of inference mode
    could not be used in a later training step, those of ``torch.export`` have no values, and what a
    CUDA graph computes is there only after the graph has run. ``torch.compile`` traces the function
    itself, which is made of torch's operations.
    """

    def decorate(make: Table) -> Table:
        kept: OrderedDict[Hashable, Any] = OrderedDict()
        read_by_graphs: dict[int, Any] = {}

        @wraps(make)
        def table(*sizes: Any) -> Any:
            if torch.compiler.is_dynamo_compiling():
                return make(*sizes)
            apart = _apart.get()
            if apart is not None:
                key = (make, *sizes)
                return apart[key] if key in apart else apart.setdefault(key, make(*sizes))
            if sizes in kept:
                if is_capturing():
                    # The graph will read it whenever it is replayed.
                    read_by_graphs[id(kept[sizes])] = kept[sizes]
                return kept[sizes]
            with torch.inference_mode(False), _disable_current_modes():
                made = make(*sizes)
            if not is_capturing():
                kept[sizes] = made
                if len(kept) > maxsize:
                    kept.popitem(last=False)
            return made

        table.cache_clear = kept.clear  # type: ignore[attr-defined]
        return one_call(table)  # type: ignore[return-value]

    return decorate


def is_capturing() -> bool:
    """Whether a CUDA graph is captured: what is computed now is there only after it has run."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


@contextmanager
def tables_apart() -> Iterator[None]:
    """Inside, tables are made as the caller's modes will have it, and are gone afterwards.

    For modes whose tensors are of no use outside, such as those without data.
    """
    token = _apart.set({})
    try:
        yield
    finally:
        _apart.reset(token)


@cached_table(maxsize=256)
def table_of(
    rows: Sequence[Sequence[int]], dtype: torch.dtype, device: torch.device | None = None
) -> Tensor:
    """A small table of numbers (tuples of tuples), made without a copy from the host."""
    numbers = [torch.full((1,), x, dtype=dtype, device=device) for row in rows for x in row]
    return torch.cat(numbers).view(len(rows), -1)

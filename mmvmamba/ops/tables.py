"""Tables of constants that depend on sizes alone and are made once."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ['cached_table']

Table = TypeVar('Table', bound=Callable[..., Any])


def cached_table(maxsize: int) -> Callable[[Table], Table]:
    """Keeps what a function of sizes returns; its callers share it and never write to it.

    What is kept are plain tensors wherever the function is called first: those of inference mode
    could not be used in a later training step, and those of ``torch.export`` have no values.
    ``torch.compile`` traces the function itself, which is made of torch's operations.
    """

    def decorate(make: Table) -> Table:
        @lru_cache(maxsize=maxsize)
        def kept(*sizes: Any) -> Any:
            with torch.inference_mode(False), _disable_current_modes():
                return make(*sizes)

        @wraps(make)
        def table(*sizes: Any) -> Any:
            return make(*sizes) if torch.compiler.is_dynamo_compiling() else kept(*sizes)

        table.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
        return table  # type: ignore[return-value]

    return decorate

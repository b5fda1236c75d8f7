"""What ``torch.fx.symbolic_trace`` meets: stand-ins for tensors and sizes.

They can be computed with, but nothing can be decided by their shapes or precisions.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.overrides import handle_torch_function

__all__ = ['at_least_float32', 'is_symbolic', 'one_call']

Function = TypeVar('Function', bound=Callable[..., Any])


def is_symbolic(x: Any) -> bool:
    """Whether ``x`` is a stand-in."""
    return isinstance(x, Proxy)


def one_call(function: Function) -> Function:
    """Makes a function one call of a symbolic trace, as torch's own are: sizes decide in it.

    Args:
        function: Is called with positional arguments there, the first of which is a stand-in.
    """

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Proxy):
            return handle_torch_function(called, args[:1], *args, **kwargs)
        return function(*args, **kwargs)

    return cast(Function, called)


@one_call
def at_least_float32(x: Tensor) -> Tensor:
    """The same in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

"""Maps as sequences of tokens, and back."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mmvmamba.ops.symbolic import is_symbolic

__all__ = ['laid_out', 'map_to_tokens', 'settled', 'tokens_to_map']


def tokens_to_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, L, C) to (N, C, h, w)."""
    return x.transpose(1, 2).unflatten(2, grid)


def map_to_tokens(x: Tensor) -> Tensor:
    """(N, C, h, w) to (N, L, C)."""
    return settled(x).flatten(2).transpose(1, 2)


def laid_out(maps: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Maps as a backbone puts them out, each row behind the other.

    Heads of other projects call ``view`` on what convolutions make of them, and convolutions keep
    the order in memory.
    """
    return tuple(x.contiguous() for x in maps)


def settled(x: Tensor) -> Tensor:
    """A map before or behind a BatchNorm; that of a single image lies plain, as does its gradient.

    On a CPU, torch 2.11 computes a wrong gradient of BatchNorm in evaluation mode for a single
    image of which either the map or the gradient is a transposed view of tokens.
    """
    is_traced = torch.compiler.is_compiling() or is_symbolic(x)
    if is_traced or not x.requires_grad or len(x) > 1:
        return x
    x = x.contiguous()
    x.register_hook(Tensor.contiguous)
    return x

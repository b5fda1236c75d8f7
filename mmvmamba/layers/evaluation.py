"""Layers in plain evaluation on a GPU, where launching kernels is what costs time.

``fuses`` of ``mmvmamba.ops.fused`` says when that is. Everywhere else these functions call the
layers as they are: in training, on the CPU, under ``torch.compile``, in an export.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as modules

from mmvmamba.ops import tables
from mmvmamba.ops.fused import add_norm, fuses

from .packed import ACTIVATIONS, PackedConv2d, PackedHalves, PackedLinear
from .read_linear import ReadLinear

__all__ = [
    'add_and_norm',
    'autocast_dtype',
    'cast_once',
    'convolve',
    'convolve_all',
    'convolve_and_norm',
    'forget_weights',
    'fuses',
    'held_by_graph',
    'is_plain',
    'keep_weights',
    'kept_of_weights',
    'linear',
    'linear_halves',
]

Made = TypeVar('Made')
Norm = nn.LayerNorm | nn.RMSNorm
KEPT = '_kept_of_weights'
IS_READY = '_is_ready_for_inference'
_held_by_graph: ContextVar[list[object] | None] = ContextVar('held by graph', default=None)
# Hooks of all modules; torch has no function that tells whether there are some.
GLOBAL_HOOKS = tuple(
    getattr(modules, f'_global_{kind}_hooks')
    for kind in ('forward_pre', 'forward', 'backward_pre', 'backward')
)


class _Kept(dict[Hashable, tuple[tuple, tuple, Any]]):
    """What a module keeps; a copy or a file of the module begins without it."""

    def __reduce__(self) -> tuple[type, tuple]:
        return _Kept, ()


def kept_of_weights(
    module: nn.Module,
    name: str,
    make: Callable[..., Made],
    *weights: Tensor | None,
    also: Hashable = None,
) -> Made:
    """What ``make`` computes of weights alone, kept with the module as long as they stay the same.

    A weight that was changed in place, exchanged or given other memory is noticed by its identity,
    version counter and memory. What goes around the counter (``weight.data.copy_``) is not: after
    it, ``model.eval()`` or ``forget_weights(model)`` is due. A CUDA graph computes it anew, and so
    follows the weights, unless captured inside of ``held_by_graph``. Nothing is kept in distributed
    runs, which exchange weights.

    Args:
        module: What keeps the result.
        name: Tells the results of a module apart.
        make: Called with the weights.
        weights: What the result depends on.
        also: What else it depends on; the result for the last one is kept.
    """
    given = tuple([x for x in weights if x is not None])
    if not (fuses(given[0]) or IS_READY in module.__dict__) or not _keeps_now():
        return make(*weights)
    stamp = (also, *[_stamp(x) for x in given])
    kept = module.__dict__.get(KEPT)
    entry = None if kept is None else kept.get(name)
    if entry is None or entry[1] != stamp:
        # The weights are held, so that no other one can get the number of one that has gone.
        entry = (given, stamp, make(*weights))
        if all(map(_may_be_kept, given)) and not tables.is_capturing():
            module.__dict__.setdefault(KEPT, _Kept())[name] = entry
    held = _held_by_graph.get()
    if held is not None:
        held.append(entry)
    made: Made = entry[2]
    return made


@contextmanager
def held_by_graph() -> Iterator[list[object]]:
    """A CUDA graph that is captured inside reads what was kept of weights before.

    Yields:
        What it reads, which must live as long as the graph; it does not follow the weights.
    """
    held: list[object] = []
    token = _held_by_graph.set(held)
    try:
        yield held
    finally:
        _held_by_graph.reset(token)


def keep_weights(module: nn.Module) -> None:
    """Has a module keep what is computed of its weights wherever it runs."""
    setattr(module, IS_READY, True)


def forget_weights(model: nn.Module) -> None:
    """Drops what modules keep of their weights."""
    for module in model.modules():
        module.__dict__.pop(KEPT, None)


def _stamp(weight: Tensor) -> tuple[int, int, int]:
    """Changes with a weight; tensors of inference mode count no versions, and are never kept."""
    version = -1 if weight.is_inference() else weight._version
    return id(weight), version, weight.untyped_storage()._cdata


def _may_be_kept(weight: Tensor) -> bool:
    return not weight.is_inference() and not hasattr(weight, '__tensor_flatten__')


def _keeps_now() -> bool:
    distributed = torch.distributed
    return (_held_by_graph.get() is not None or not tables.is_capturing()) and not (
        distributed.is_available() and distributed.is_initialized()
    )


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether calling a module does nothing but what its class does."""
    return type(module) in kinds and not (
        module._forward_hooks or module._forward_pre_hooks or any(GLOBAL_HOOKS)
    )


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The precision for weights that meet ``x`` in a matrix product; None: as they are.

    Where nothing is kept, autocast casts them itself.
    """
    if not fuses(x) or not torch.is_autocast_enabled(x.device.type):
        return None
    return torch.get_autocast_dtype(x.device.type)


def cast_once(module: nn.Module, x: Tensor, *weights: Tensor | None) -> Sequence[Any]:
    """Weights as autocast would have them where they meet ``x``, cast once."""
    dtype = autocast_dtype(x)
    if dtype is None:
        return weights

    def lower(*weights: Tensor | None) -> list[Tensor | None]:
        return [None if w is None else w.to(dtype) for w in weights]

    return kept_of_weights(module, 'cast', lower, *weights, also=dtype)


def linear(layer: nn.Module, x: Tensor, activation: str | None = None) -> Tensor:
    """Calls a linear layer, whose weights autocast finds cast already.

    Args:
        layer: The layer, or what stands in its place.
        x: ``(..., in)``.
        activation: What follows, out of ``ACTIVATIONS`` of the packed layers.
    """
    if isinstance(layer, PackedLinear):
        out: Tensor = layer(x, activation)
        return out
    if not fuses(x) or not is_plain(layer, nn.Linear, ReadLinear):
        return ACTIVATIONS[activation].function(layer(x))
    own = cast(nn.Linear, layer)
    weight, bias = cast_once(layer, x, own.weight, own.bias)
    # As a matrix: torch adds the bias in a kernel of its own where more axes are not contiguous.
    y = F.linear(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])
    return ACTIVATIONS[activation].function(y)


def linear_halves(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The two halves of what a linear layer makes of ``(..., in)``."""
    if isinstance(layer, PackedHalves):
        halves: tuple[Tensor, Tensor] = layer(x)
        return halves
    first, second = linear(layer, x).chunk(2, dim=-1)
    return first, second


def convolve(layer: nn.Module, x: Tensor, activation: str | None = None) -> Tensor:
    """Calls a convolution of maps, whose weights autocast finds cast already.

    Args:
        layer: The convolution, or what stands in its place.
        x: Maps.
        activation: What follows, out of ``ACTIVATIONS`` of the packed layers.
    """
    if isinstance(layer, PackedConv2d):
        out: Tensor = layer(x, activation)
        return out
    if not fuses(x) or not is_plain(layer, nn.Conv2d):
        return ACTIVATIONS[activation].function(layer(x))
    own = cast(nn.Conv2d, layer)
    weight, bias = cast_once(layer, x, own.weight, own.bias)
    return ACTIVATIONS[activation].function(own._conv_forward(x, weight, bias))


def convolve_and_norm(
    conv: nn.Module, norm: nn.Module, x: Tensor, activation: str | None = None
) -> Tensor:
    """A convolution and the BatchNorm behind it, whose fixed statistics become part of it.

    Args:
        conv: The convolution.
        norm: The norm, or nothing.
        x: Maps.
        activation: See ``convolve``.
    """
    if type(norm) is nn.Identity:
        return convolve(conv, x, activation)
    is_fixed = is_plain(norm, nn.BatchNorm2d) and not norm.training and norm.running_var is not None
    if not is_fixed or not fuses(x) or not is_plain(conv, nn.Conv2d):
        return ACTIVATIONS[activation].function(norm(conv(x)))
    own, fixed = cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)
    dtype = autocast_dtype(x) or x.dtype

    def fold(weight, bias, mean, var, gamma, beta) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        mean = mean if bias is None else mean - bias
        scale = torch.rsqrt(var + fixed.eps) * (1 if gamma is None else gamma)
        shift = -mean * scale if beta is None else beta - mean * scale
        return (weight * scale[:, None, None, None]).to(dtype), shift.to(dtype)

    statistics = (fixed.running_mean, fixed.running_var, fixed.weight, fixed.bias)
    weights = (own.weight, own.bias, *statistics)
    weight, bias = kept_of_weights(conv, 'norm', fold, *weights, also=(dtype, fixed.eps))
    return ACTIVATIONS[activation].function(own._conv_forward(x, weight, bias))


def convolve_all(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Calls layers one after the other, convolutions with the BatchNorms behind them."""
    if not fuses(x) or not is_plain(layers, nn.Sequential):
        out: Tensor = layers(x)
        return out
    rest = list(layers)
    while rest:
        layer = rest.pop(0)
        if rest and isinstance(rest[0], nn.BatchNorm2d):
            x = convolve_and_norm(layer, rest.pop(0), x)
        else:
            x = convolve(layer, x)
    return x


def add_and_norm(
    norm: Norm,
    stream: Tensor,
    branch: Tensor | None = None,
    scale: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Adds a branch to the residual stream and norms the sum, in one kernel; see ``add_norm``.

    Args:
        norm: A LayerNorm or RMSNorm of the last axis.
        stream: The residual stream, which ``fuses``.
        branch: What is added.
        scale: Factors on the channels of the branch.
        dtype: Of the normed result; None for that of matrix products.
    """
    eps = torch.finfo(stream.dtype).eps if norm.eps is None else norm.eps
    bias = norm.bias if isinstance(norm, nn.LayerNorm) else None
    dtype = dtype or autocast_dtype(stream) or stream.dtype
    is_rms = isinstance(norm, nn.RMSNorm)
    return add_norm(stream, branch, scale, norm.weight, bias, eps, is_rms, dtype)

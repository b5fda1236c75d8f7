"""The ``mmcv`` backend: the CUDA kernel of a compiled mmcv, never its stand-in.

It computes in float32 here, as its own half precision adds gradients up in half precision. It is
used only after a short self-test against the reference in this process.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import BuiltinFunctionType, ModuleType

import torch
from torch import Tensor

from mmvmamba.ops.backends import alert_not_deterministic
from mmvmamba.ops.tables import table_of

from .reference import ms_deform_attn_ref

__all__ = ['backward', 'forward', 'unavailable_reason']

REMEDY = 'install a compiled mmcv (>= 2.0, < 2.2) for your torch in place of mmcv-lite'
FUNCTIONS = ('ms_deform_attn_forward', 'ms_deform_attn_backward')

Shapes = Sequence[tuple[int, int]]


def unavailable_reason(device: torch.device, dtype: torch.dtype, channels: int) -> str | None:
    if device.type != 'cuda':
        return f'its kernel runs on CUDA and ROCm devices, got tensors on {device.type}'
    if not torch.cuda.is_available():
        return 'torch finds no CUDA or ROCm device'
    _, reason = _load()
    return reason or _self_test(str(device))


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    arguments = _arguments(value, shapes, locations, weights)
    step = _images(arguments)
    out: Tensor = _operators().ms_deform_attn_forward(*arguments, im2col_step=step)
    return out.to(value.dtype)


def backward(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, grad_out: Tensor
) -> tuple[Tensor, ...]:
    alert_not_deterministic('the gradient of value in deformable attention by mmcv')
    arguments = _arguments(value, shapes, locations, weights)
    inputs = (arguments[0], *arguments[3:])
    grads = [torch.zeros_like(x) for x in inputs]
    _operators().ms_deform_attn_backward(
        *arguments,
        grad_out.to(inputs[0].dtype).contiguous(),
        *grads,
        im2col_step=_images(arguments),
    )
    return tuple(
        grad.to(x.dtype) for grad, x in zip(grads, (value, locations, weights), strict=True)
    )


def _arguments(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> tuple[Tensor, ...]:
    """mmcv's: everything in one dtype of at least float32, sizes and starts of levels on device."""
    dtype = torch.promote_types(value.dtype, torch.float32)
    value, locations, weights = (x.to(dtype).contiguous() for x in (value, locations, weights))
    sizes = table_of(tuple(map(tuple, shapes)), torch.int64, value.device)
    starts = sizes.prod(1).cumsum(0) - sizes.prod(1)
    return value, sizes, starts, locations, weights


def _images(arguments: tuple[Tensor, ...]) -> int:
    """Images of one launch: a divisor of the batch, and offsets of 32 bits must suffice."""
    batch = len(arguments[0])
    largest = max(arguments[0][0].numel(), arguments[3][0].numel())
    return next((n for n in range(batch, 1, -1) if batch % n == 0 and n * largest < 2**31), 1)


def _operators() -> ModuleType:
    """The compiled operators, after ``unavailable_reason`` has found them."""
    operators, reason = _load()
    assert operators is not None, reason
    return operators


@lru_cache(maxsize=1)
def _load() -> tuple[ModuleType | None, str | None]:
    """The compiled operators, or the reason why there are none."""
    if find_spec('mmcv') is None:
        return None, f'mmcv is not installed; {REMEDY}'
    try:
        operators = import_module('mmcv._ext')
    except (ImportError, OSError) as error:
        return None, f'mmcv._ext does not load ({error}); {REMEDY}'
    # Python functions are those of a stand-in.
    if not all(isinstance(getattr(operators, n, None), BuiltinFunctionType) for n in FUNCTIONS):
        return None, f'the installed mmcv has no compiled operators; {REMEDY}'
    return operators, None


@lru_cache(maxsize=8)
def _self_test(device: str) -> str | None:
    """Compares a small case with the reference; returns what is wrong, or None."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 7), (2, 3)]
    value, locations, weights = (
        torch.rand(*size, generator=generator).to(device)
        for size in ((2, 41, 2, 8), (2, 9, 2, 2, 3, 2), (2, 9, 2, 2, 3))
    )
    expected = ms_deform_attn_ref(value, shapes, locations, weights)
    try:
        actual = forward(value, shapes, locations, weights)
    except (RuntimeError, TypeError, ValueError) as error:
        return f'its self-test failed: {error}; {REMEDY}'
    difference = ((actual - expected).abs().max() / expected.abs().max()).item()
    if not difference < 1e-4:
        return f'its self-test differs from the reference by {difference:.2g}'
    return None

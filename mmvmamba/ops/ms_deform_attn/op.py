"""``ms_deform_attn`` and the two operators, forward and backward, that PyTorch sees."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmvmamba.ops.flops import register_deform_attn_formulas

from . import torch as torch_backend
from .dispatch import DEFORM_ATTN

__all__ = ['ms_deform_attn']

_ARGUMENTS = 'Tensor value, SymInt[] shapes, Tensor locations, Tensor weights'


def ms_deform_attn(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """Multi-scale deformable attention: weighted bilinear samples from a pyramid of maps.

    Deformable DETR, https://arxiv.org/abs/2010.04159. Sums are taken in float32 (float64 if
    ``value`` is) under any autocast. Gradients pass to all three tensors; on a GPU that of
    ``value`` is added up by atomic operations, so its last bits differ from run to run.

    Args:
        value: Tokens of all levels, one level after the other in raster order,
            ``(batch, sum of height * width, heads, channels)``.
        shapes: Height and width of each level.
        locations: Where to sample, as (x, y) in units of a level's size,
            ``(batch, queries, heads, levels, points, 2)``; samples outside are zero. Half precision
            cannot place them to a fraction of a cell on large maps.
        weights: ``(batch, queries, heads, levels, points)``.
        backend: ``'auto'``, ``'mmcv'``, ``'triton'``, ``'numba'``, ``'torch'`` or ``'export'``
            (plain operators). None: what ``deform_attn_backend`` or
            ``MMVMAMBA_DEFORM_ATTN_BACKEND`` says, else ``'auto'``.

    Returns:
        ``(batch, queries, heads * channels)``, in the dtype of ``value``.

    Raises:
        ValueError: if an argument does not fit.
        RuntimeError: if the backend asked for cannot run here.
    """
    _check_arguments(value, shapes, locations, weights)
    # What torch.compile traces asks for a backend when it runs.
    is_compiling = torch.compiler.is_dynamo_compiling()
    if not is_compiling and DEFORM_ATTN.requested(backend) == 'export':
        # None of its operators is another under autocast.
        return torch_backend.forward(value, shapes, locations, weights)
    flat_shapes = [side for shape in shapes for side in shape]
    out: Tensor = torch.ops.mmvmamba.ms_deform_attn(value, flat_shapes, locations, weights, backend)
    return out


def _check_arguments(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> None:
    for name, tensor in (('value', value), ('locations', locations), ('weights', weights)):
        if not tensor.is_floating_point():
            raise ValueError(f'{name} must be a real floating-point tensor, got {tensor.dtype}')
        if tensor.device != value.device:
            raise ValueError(
                f'{name} must be on the device of value, {value.device}, got {tensor.device}'
            )
    tokens = sum(height * width for height, width in shapes)
    if value.ndim != 4 or value.shape[1] != tokens:
        raise ValueError(
            f'value must have shape (batch, {tokens}, heads, channels) for levels of '
            f'{list(shapes)}, got {tuple(value.shape)}'
        )
    batch, _, heads, _ = value.shape
    known = (batch, heads, len(shapes))
    if (
        locations.ndim != 6
        or (locations.shape[0], *locations.shape[2:4]) != known
        or locations.shape[5] != 2
    ):
        raise ValueError(
            f'locations must have shape (batch={batch}, queries, heads={heads}, '
            f'levels={len(shapes)}, points, 2), got {tuple(locations.shape)}'
        )
    if weights.shape != locations.shape[:-1]:
        raise ValueError(
            f'weights must have the shape of locations without its last axis, '
            f'{tuple(locations.shape[:-1])}, got {tuple(weights.shape)}'
        )


@torch.library.custom_op(
    'mmvmamba::ms_deform_attn', mutates_args=(), schema=f'({_ARGUMENTS}, str? backend) -> Tensor'
)
def _forward_op(
    value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, backend: str | None
) -> Tensor:
    module = DEFORM_ATTN.select(backend, value.device, value.dtype, value.shape[3])
    if not (value.numel() and weights.numel()):
        return _new_out(value, locations).zero_()
    value, locations, weights = (x.contiguous() for x in (value, locations, weights))
    with torch.autocast(value.device.type, enabled=False):
        out: Tensor = module.forward(value, _pairs(shapes), locations, weights)
    return out


@_forward_op.register_fake
def _(
    value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, backend: str | None
) -> Tensor:
    return _new_out(value, locations)


@torch.library.custom_op(
    'mmvmamba::ms_deform_attn_backward',
    mutates_args=(),
    schema=f'({_ARGUMENTS}, Tensor grad_out, str? backend) -> (Tensor, Tensor, Tensor)',
)
def _backward_op(
    value: Tensor,
    shapes: Sequence[int],
    locations: Tensor,
    weights: Tensor,
    grad_out: Tensor,
    backend: str | None,
) -> tuple[Tensor, ...]:
    module = DEFORM_ATTN.select(backend, value.device, value.dtype, value.shape[3])
    if not (value.numel() and weights.numel()):
        return tuple(x.new_zeros(x.shape) for x in (value, locations, weights))
    value, *samples, grad_out = (x.contiguous() for x in (value, locations, weights, grad_out))
    with torch.autocast(value.device.type, enabled=False):
        grads = module.backward(value, _pairs(shapes), *samples, grad_out)
    return tuple(grad.contiguous() for grad in grads)


@_backward_op.register_fake
def _(
    value: Tensor,
    shapes: Sequence[int],
    locations: Tensor,
    weights: Tensor,
    grad_out: Tensor,
    backend: str | None,
) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (value, locations, weights))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.shapes, locations, weights, backend = inputs
    ctx.backend = DEFORM_ATTN.requested_by_forward(backend, output)
    ctx.save_for_backward(value, locations, weights)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    grads = torch.ops.mmvmamba.ms_deform_attn_backward(
        value, ctx.shapes, locations, weights, grad_out, ctx.backend
    )
    return grads[0], None, *grads[1:], None


_forward_op.register_autograd(_backward, setup_context=_save_for_backward)
register_deform_attn_formulas()


def _new_out(value: Tensor, locations: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, locations.shape[1], heads * channels)


def _pairs(flat: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))

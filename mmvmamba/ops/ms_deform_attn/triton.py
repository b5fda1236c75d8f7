"""The ``triton`` backend: CUDA and ROCm, and the CPU under Triton's interpreter (for tests)."""

from collections.abc import Sequence
from importlib import import_module
from itertools import accumulate

import torch
from torch import Tensor

from mmvmamba.ops.backends import alert_not_deterministic
from mmvmamba.ops.tables import table_of
from mmvmamba.ops.triton_device import OPTIONS, on_device, power_of_two, triton_unavailable_reason

__all__ = ['backward', 'forward', 'unavailable_reason']

LARGEST_HEAD = 1024
# Values of a program's tile, queries * channels, and its warps.
TILE, WARPS = 1024, 4

Shapes = Sequence[tuple[int, int]]


def unavailable_reason(device: torch.device, dtype: torch.dtype, channels: int) -> str | None:
    if dtype == torch.float64:
        return 'it computes in float32, got float64; the torch backend computes in float64'
    if channels > LARGEST_HEAD:
        return f'it takes heads of up to {LARGEST_HEAD} channels, got {channels}'
    return triton_unavailable_reason(device)


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    out = value.new_empty(*locations.shape[:3], value.shape[3])
    _launch('ms_deform_attn_fwd_kernel', value, shapes, locations, weights, out)
    return out.flatten(2)


def backward(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, grad_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    alert_not_deterministic('the gradient of value in deformable attention by triton')
    # Atomic sums in half precision would lose small samples.
    grad_value = value.new_zeros(value.shape, dtype=torch.float32)
    grads = (locations.new_empty(locations.shape), weights.new_empty(weights.shape))
    _launch(
        'ms_deform_attn_bwd_kernel',
        *(value, shapes, locations, weights, grad_out, grad_value, *grads),
    )
    return grad_value.to(value.dtype), *grads


def _launch(
    kernel: str, value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, *others: Tensor
) -> None:
    batch, tokens, heads, channels = value.shape
    queries, levels, points = (locations.shape[axis] for axis in (1, 3, 4))
    width = power_of_two(channels)
    block = max(1, min(TILE // width, power_of_two(queries)))
    with on_device(value.device):
        launch = getattr(import_module('.triton_kernels', __package__), kernel)
        launch[(batch * heads * -(-queries // block),)](
            value, _geometry(shapes, value.device), locations, weights, *others,
            tokens, queries, heads, channels, levels, points,
            QUERIES=block, CHANNELS=width, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip


def _geometry(shapes: Shapes, device: torch.device) -> Tensor:
    """Height, width and first token of each level."""
    starts = accumulate((height * width for height, width in shapes), initial=0)
    rows = tuple((*shape, start) for shape, start in zip(shapes, starts, strict=False))
    return table_of(rows, torch.int64, device)

"""Launches the Triton kernels of the fused operators."""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from mmvmamba.ops.triton_device import OPTIONS, on_device, power_of_two

__all__ = ['add_norm', 'convolve_silu', 'gate_channels']

# Values of a program's tile, and its warps.
TILE, WARPS = 2048, 4
TOKENS, DIMS = 16, 64


def add_norm(
    stream: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor,
    bias: Tensor | None, eps: float, is_rms: bool, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    dim = stream.shape[-1]
    stream, total = stream.contiguous(), None
    if branch is not None:
        branch = branch.contiguous()
        total = stream.new_empty(
            stream.shape, dtype=torch.promote_types(stream.dtype, branch.dtype)
        )
    normed = stream.new_empty(stream.shape, dtype=dtype)
    width = power_of_two(dim)
    rows, block = stream.numel() // dim, max(1, TILE // width)
    with on_device(stream.device):
        _kernels().add_norm_kernel[(-(-rows // block),)](
            stream, branch, scale, weight, bias, total, normed, rows, dim, eps,
            IS_RMS=is_rms, ROWS=block, DIM=width, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip
    # An operator may not hand back what it was given.
    return stream.new_empty(0) if total is None else total, normed


def convolve_silu(x: Tensor, weight: Tensor, bias: Tensor | None, before: Sequence[int]) -> Tensor:
    if x.stride(2) != 1:
        x = x.contiguous()
    batch, length, dim = x.shape
    sets, taps, _ = weight.shape
    out = x.new_empty(sets, batch, length, dim)
    programs = sets * batch * -(-length // TOKENS) * -(-dim // DIMS)
    with on_device(x.device):
        _kernels().convolve_silu_kernel[(programs,)](
            x, weight, bias, out, x.stride(0), x.stride(1), batch, length, dim,
            before[0], before[-1], TAPS=taps, TOKENS=TOKENS, DIMS=DIMS, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip
    return out


def gate_channels(gate: Tensor, identity: Tensor, convolved: Tensor, activation: str) -> Tensor:
    out = gate.new_empty(gate.shape)
    parts = [_rows_of(x) for x in (gate, identity, convolved)]
    rows, dim = parts[0].shape
    block = TILE // DIMS
    programs = -(-rows // block) * -(-dim // DIMS)
    with on_device(gate.device):
        _kernels().gate_channels_kernel[(programs,)](
            *parts, out, *(x.stride(0) for x in parts), rows, dim, identity.shape[-1],
            GELU=activation == 'gelu', ROWS=block, DIMS=DIMS, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip
    return out


def _rows_of(x: Tensor) -> Tensor:
    """As a matrix whose rows are tokens; a copy only where memory is not so."""
    rows = x.flatten(0, -2)
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _kernels() -> ModuleType:
    return import_module('.triton_kernels', __package__)

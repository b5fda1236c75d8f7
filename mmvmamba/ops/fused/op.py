"""Operators that do in one kernel what evaluation on a GPU would launch several for.

They have no gradient: ``fuses`` says where they may stand for the plain operators. On the CPU they
are the definitions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmvmamba.ops.symbolic import is_symbolic
from mmvmamba.ops.triton_device import triton_unavailable_reason

from . import reference, triton

__all__ = ['add_norm', 'convolve_silu', 'evaluates', 'fuses', 'gate_channels']

# The CPU's operators are not short of launches; tests take it in to compare.
FUSED_DEVICES = ('cuda',)
FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def evaluates() -> bool:
    """Whether a forward pass is plain evaluation, without gradients, that nobody traces.

    ``torch.compile`` fuses by itself, and what is exported is made of plain operators.
    """
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
    )


def fuses(x: Tensor) -> bool:
    """Whether a forward pass is plain evaluation on a GPU that has the kernels."""
    return (
        not is_symbolic(x)
        and x.device.type in FUSED_DEVICES
        and x.dtype in FUSED_DTYPES
        and evaluates()
        and triton_unavailable_reason(x.device) is None
    )


def add_norm(
    stream: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor,
    bias: Tensor | None, eps: float, is_rms: bool, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Adds a branch to a residual stream and norms the sum over the last axis.

    Args:
        stream: ``(..., dim)``.
        branch: As the stream, or None.
        scale: Factors on the channels of the branch, or None.
        weight: Of the norm, ``(dim,)``.
        bias: Of a LayerNorm, ``(dim,)``, or None.
        eps: Of the norm.
        is_rms: Whether it is an RMSNorm.
        dtype: Of the normed result.

    Returns:
        The sum, in the wider dtype of both, and the normed sum.
    """
    arguments = (stream, branch, scale, weight, bias, eps, is_rms, dtype)
    total, normed = torch.ops.mmvmamba.add_norm(*arguments)
    return stream if branch is None else total, normed


def convolve_silu(x: Tensor, weight: Tensor, bias: Tensor | None, before: Sequence[int]) -> Tensor:
    """Convolves each channel of a sequence along the tokens and applies SiLU, in one or two ways.

    Args:
        x: ``(batch, length, dim)``.
        weight: ``(ways, taps, dim)``.
        bias: ``(ways, dim)``, or None.
        before: For each way, how many taps meet tokens before a result's own.

    Returns:
        ``(ways, batch, length, dim)``.
    """
    if len(before) != len(weight) or len(before) > 2:
        raise ValueError(f'convolve_silu takes one or two ways, got {len(weight)} and {before}')
    out: Tensor = torch.ops.mmvmamba.convolve_silu(x, weight, bias, list(before))
    return out


def gate_channels(gate: Tensor, identity: Tensor, convolved: Tensor, activation: str) -> Tensor:
    """Multiplies channels beside each other by an activated gate.

    Args:
        gate: ``(..., dim)``.
        identity: The first channels of what is gated, maybe none of them.
        convolved: The others.
        activation: 'gelu' or 'silu'.

    Returns:
        As the gate.
    """
    out: Tensor = torch.ops.mmvmamba.gate_channels(gate, identity, convolved, activation)
    return out


def _operator(name: str, schema: str, fused: Callable[..., Any], plain: Callable[..., Any]) -> None:
    """Defines an operator without a gradient, in the way that costs the host least."""
    torch.library.define(f'mmvmamba::{name}', schema)
    torch.library.impl(f'mmvmamba::{name}', 'cuda', fused)
    torch.library.impl(f'mmvmamba::{name}', 'cpu', plain)


_operator(
    'add_norm',
    '(Tensor stream, Tensor? branch, Tensor? scale, Tensor weight, Tensor? bias, float eps, '
    'bool is_rms, ScalarType dtype) -> (Tensor, Tensor)',
    triton.add_norm,
    reference.add_norm_ref,
)
_operator(
    'convolve_silu',
    '(Tensor x, Tensor weight, Tensor? bias, int[] before) -> Tensor',
    triton.convolve_silu,
    reference.convolve_silu_ref,
)
_operator(
    'gate_channels',
    '(Tensor gate, Tensor identity, Tensor convolved, str activation) -> Tensor',
    triton.gate_channels,
    reference.gate_channels_ref,
)


@torch.library.register_fake('mmvmamba::add_norm')
def _(
    stream: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor,
    bias: Tensor | None, eps: float, is_rms: bool, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    normed = stream.new_empty(stream.shape, dtype=dtype)
    if branch is None:
        return stream.new_empty(0), normed
    wide = torch.promote_types(stream.dtype, branch.dtype)
    return stream.new_empty(stream.shape, dtype=wide), normed


@torch.library.register_fake('mmvmamba::convolve_silu')
def _(x: Tensor, weight: Tensor, bias: Tensor | None, before: Sequence[int]) -> Tensor:
    return x.new_empty(len(weight), *x.shape)


@torch.library.register_fake('mmvmamba::gate_channels')
def _(gate: Tensor, identity: Tensor, convolved: Tensor, activation: str) -> Tensor:
    return gate.new_empty(gate.shape)

"""``read_out`` and its definition."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvmamba.ops.cpu.compiled import has_numba
from mmvmamba.ops.state_fusion import DILATIONS, state_fusion

from .numba import can_run, read_out_numba

__all__ = ['merged_taps', 'read_out', 'read_out_ref']


def merged_taps(kernels: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """The kernels of ``state_fusion`` times their weights, ``(27, C)``, dilation by dilation."""
    taps = [(a * kernel).flatten(1).t() for a, kernel in zip(alpha, kernels, strict=True)]
    return torch.cat(taps).float().contiguous()


def read_out(
    states: Tensor, taps: Tensor, C: Tensor, u: Tensor, D: Tensor, weight: Tensor, bias: Tensor,
    eps: float, gate: Tensor,
) -> Tensor:  # fmt: skip
    """Fuses the states of a map, reads them out, norms and gates the result; without a gradient.

    Args:
        states: ``(N, H, W, E)``.
        taps: See ``merged_taps``.
        C: Factor of each token's fused states, ``(N, H, W)``.
        u: Input of the scan, as the states.
        D: Factors of its channels, which pass by the states, ``(E,)``.
        weight: Of the LayerNorm over the channels.
        bias: Likewise.
        eps: Likewise.
        gate: Multiplies the result, as the states.

    Returns:
        As the states.
    """
    tensors = (states, taps, C, u, D, weight, bias)
    if has_numba() and can_run(states):
        return read_out_numba(*tensors, eps, gate)
    return read_out_ref(*tensors, eps, gate)


def read_out_ref(
    states: Tensor, taps: Tensor, C: Tensor, u: Tensor, D: Tensor, weight: Tensor, bias: Tensor,
    eps: float, gate: Tensor,
) -> Tensor:  # fmt: skip
    """The definition; arguments as those of ``read_out``."""
    kernels = [own.t().unflatten(1, (1, 3, 3)) for own in taps.chunk(len(DILATIONS))]
    fused = state_fusion(states.permute(0, 3, 1, 2), kernels, taps.new_ones(len(DILATIONS)))
    y = fused.permute(0, 2, 3, 1) * C[..., None] + u * D
    return F.layer_norm(y, (y.shape[-1],), weight, bias, eps) * gate

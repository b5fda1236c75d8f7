"""What the fused operators compute, in plain PyTorch: the definition, and what runs without Triton.

Sums are taken in float32 and rounded once.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['ACTIVATIONS', 'add_norm_ref', 'convolve_silu_ref', 'gate_channels_ref']

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {'gelu': F.gelu, 'silu': F.silu}


def add_norm_ref(
    stream: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor,
    bias: Tensor | None, eps: float, is_rms: bool, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    # An operator may not hand back what it was given.
    x, total = stream.float(), stream.new_empty(0)
    if branch is not None:
        added = branch.float() if scale is None else branch.float() * scale.float()
        total = (stream.float() + added).to(torch.promote_types(stream.dtype, branch.dtype))
        x = total.float()
    shape = weight.shape
    if is_rms:
        normed = F.rms_norm(x, shape, weight.float(), eps)
    else:
        normed = F.layer_norm(x, shape, weight.float(), None if bias is None else bias.float(), eps)
    return total, normed.to(dtype)


def convolve_silu_ref(
    x: Tensor, weight: Tensor, bias: Tensor | None, before: Sequence[int]
) -> Tensor:
    taps, dim = weight.shape[1:]
    rows = x.float().transpose(1, 2)
    convolved = []
    for p, count in enumerate(before):
        padded = F.pad(rows, (count, taps - 1 - count))
        kernel = weight[p].float().t().unsqueeze(1)
        own = None if bias is None else bias[p].float()
        convolved.append(F.conv1d(padded, kernel, own, groups=dim).transpose(1, 2))
    return F.silu(torch.stack(convolved)).to(x.dtype)


def gate_channels_ref(gate: Tensor, identity: Tensor, convolved: Tensor, activation: str) -> Tensor:
    values = torch.cat([identity.float(), convolved.float()], dim=-1)
    return (ACTIVATIONS[activation](gate.float()) * values).to(gate.dtype)

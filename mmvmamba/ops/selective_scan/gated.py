"""A scan and its gate as one operator without a gradient, for evaluation.

On a GPU, what the directions put out is added up, gated and rounded once, by the kernel that also
reads them for the last time (``gated_forward`` of a backend that has one). Without the ways that a
gradient needs, a call takes the host half as long.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import ScanArgs, check_values
from .dispatch import SCAN, debug_mode, without_autocast

__all__ = ['GATED_DEVICES', 'gated_scan']

GATED_DEVICES = ('cpu', 'cuda')


def gated_scan(args: ScanArgs, z: Tensor | None, backend: str | None) -> Tensor:
    """The sum over directions, times ``silu(z)`` if there is a z, ``(batch, length, dim)``."""
    out: Tensor = torch.ops.mmvmamba.gated_scan(*args, z, backend)
    return out


def _forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, orders: Tensor | None, delta_softplus: bool, order_all: bool,
    z: Tensor | None, backend: str | None,
) -> Tensor:  # fmt: skip
    args = ScanArgs(u, delta, A, B, C, D, delta_bias, orders, delta_softplus, order_all)
    check_values(args, debug_mode())
    module = SCAN.select(backend, u.device, u.dtype, args.state)
    gated: Callable[..., Any] | None = getattr(module, 'gated_forward', None)
    if gated is not None:
        # Kernels, and sums of what is in float32: nothing that autocast would change.
        fused: Tensor = gated(args, z)
        return fused
    with without_autocast(u.device):
        out: Tensor = module.forward(args, 0, False)[0]
        return out if z is None else out * F.silu(z.to(out.dtype))


torch.library.define(
    'mmvmamba::gated_scan',
    '(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, '
    'Tensor? orders, bool delta_softplus, bool order_all, Tensor? z, str? backend) -> Tensor',
)
torch.library.impl('mmvmamba::gated_scan', GATED_DEVICES, _forward)


@torch.library.register_fake('mmvmamba::gated_scan')
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, orders: Tensor | None, delta_softplus: bool, order_all: bool,
    z: Tensor | None, backend: str | None,
) -> Tensor:  # fmt: skip
    return u.new_empty(u.shape[0], u.shape[2], u.shape[3])

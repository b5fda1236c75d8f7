"""How many floating-point operations a selective scan counts as: the one place that says so.

Importing ``mmvmamba.ops.selective_scan`` registers the formulas with
``torch.utils.flop_counter.FlopCounterMode``. What counters leave out elsewhere, they leave out
here: softplus, the skip connection and the gate, which work on (batch, length, dim) without state.
"""

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import register_flop_formula

__all__ = ['selective_scan_backward_flops', 'selective_scan_flops']

# The counter passes the shape of each tensor in its place.
Shape = Sequence[int]

# For one channel and one state at one step: delta * A (1); its exponential, a product with log2(e)
# and a power of two (2); delta * B and its product with u (2); the decay of the state and the sum
# (2); the product with C and its part in the sum over states (2).
FORWARD_FLOPS = 9

# The states are computed again (7: the above without C). Then the gradient of the state, from the
# later steps and from the output (2), and through the decay (1); the gradient of the exponent (1);
# and five products with their sums: into B, C, A, delta and delta * u (10).
BACKWARD_FLOPS = 21


def selective_scan_flops(batch: int, length: int, dim: int, state: int, directions: int = 1) -> int:
    """Operations of a forward pass, 9 for each batch element, direction, step, channel, state."""
    return FORWARD_FLOPS * batch * directions * length * dim * state


def selective_scan_backward_flops(
    batch: int, length: int, dim: int, state: int, directions: int = 1
) -> int:
    """Operations of a backward pass with recomputed states, without the forward pass before it."""
    return BACKWARD_FLOPS * batch * directions * length * dim * state


def register_flop_formulas() -> None:
    """Teaches torch's counter the two operators, which must exist already."""

    @register_flop_formula(torch.ops.mmvmamba.selective_scan)
    def _(
        u: Shape, delta: Shape, A: Shape, B: Shape, C: Shape, D: Shape | None, bias: Shape | None,
        orders: Shape | None, *others: object, **keywords: object,
    ) -> int:  # fmt: skip
        return selective_scan_flops(*_sizes(u, A, orders))

    @register_flop_formula(torch.ops.mmvmamba.selective_scan_backward)
    def _(
        u: Shape, delta: Shape, A: Shape, B: Shape, C: Shape, D: Shape | None, bias: Shape | None,
        orders: Shape | None, *others: object, **keywords: object,
    ) -> int:  # fmt: skip
        return selective_scan_backward_flops(*_sizes(u, A, orders))


def _sizes(u: Shape, A: Shape, orders: Shape | None) -> tuple[int, int, int, int, int]:
    batch, _, length, dim = u
    return batch, length, dim, A[-1], 1 if orders is None else orders[0]

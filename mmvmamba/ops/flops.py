"""How many floating-point operations our operators count as: the one place that says so.

Importing ``mmvmamba.ops.selective_scan`` and ``mmvmamba.ops.ms_deform_attn`` registers the formulas
with ``torch.utils.flop_counter.FlopCounterMode``. What counters leave out elsewhere, they leave out
here: softplus, the skip connection and the gate, which work on (batch, length, dim) without state,
and what is computed for a sample of an attention but not for each of its channels.
"""

import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import register_flop_formula

__all__ = [
    'ms_deform_attn_backward_flops',
    'ms_deform_attn_flops',
    'register_deform_attn_formulas',
    'register_scan_formulas',
    'selective_scan_backward_flops',
    'selective_scan_flops',
]

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

# For one channel of one sample: four corners times their shares, and their sum (7); the product
# with the sample's weight, and its part in the sum over samples (2).
SAMPLE_FLOPS = 9

# The gradient times the weight, its shares to four corners and their sums there (9); the sample
# again, and its product with the gradient for that of the weight (9); two slopes, each of two
# differences, two products and a sum, then a product and a sum (14).
SAMPLE_BACKWARD_FLOPS = 32


def selective_scan_flops(batch: int, length: int, dim: int, state: int, directions: int = 1) -> int:
    """Operations of a forward pass, 9 for each batch element, direction, step, channel, state."""
    return FORWARD_FLOPS * batch * directions * length * dim * state


def selective_scan_backward_flops(
    batch: int, length: int, dim: int, state: int, directions: int = 1
) -> int:
    """Operations of a backward pass with recomputed states, without the forward pass before it."""
    return BACKWARD_FLOPS * batch * directions * length * dim * state


def ms_deform_attn_flops(samples: int, channels: int) -> int:
    """Operations of a forward pass; samples are those of all elements, queries and heads."""
    return SAMPLE_FLOPS * samples * channels


def ms_deform_attn_backward_flops(samples: int, channels: int) -> int:
    """Operations of a backward pass, without the forward pass before it."""
    return SAMPLE_BACKWARD_FLOPS * samples * channels


def register_scan_formulas() -> None:
    """Teaches torch's counter the scan's operators, which must exist already."""

    @register_flop_formula([torch.ops.mmvmamba.selective_scan, torch.ops.mmvmamba.gated_scan])
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


def register_deform_attn_formulas() -> None:
    """Teaches torch's counter the attention's two operators, which must exist already."""

    @register_flop_formula(torch.ops.mmvmamba.ms_deform_attn)
    def _(
        value: Shape, shapes: Shape, locations: Shape, weights: Shape,
        *others: object, **keywords: object,
    ) -> int:  # fmt: skip
        return ms_deform_attn_flops(math.prod(weights), value[-1])

    @register_flop_formula(torch.ops.mmvmamba.ms_deform_attn_backward)
    def _(
        value: Shape, shapes: Shape, locations: Shape, weights: Shape,
        *others: object, **keywords: object,
    ) -> int:  # fmt: skip
        return ms_deform_attn_backward_flops(math.prod(weights), value[-1])

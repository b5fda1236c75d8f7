"""The definition of a right selective scan: a loop over time in plain PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['selective_scan_ref']


def selective_scan_ref(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    orders: Tensor | None = None,
    order_all: bool = True,
) -> tuple[Tensor, Tensor]:
    """Scans in the canonical, channels-last layout that every backend takes.

    K is the number of scan directions; a tensor whose second axis (first axis for ``A``, ``D``,
    ``delta_bias``) is 1 where K is expected is shared by all directions.

    Args:
        u: Input, ``(batch, K or 1, length, dim)``, at the tokens' own places.
        delta: Step size, ``(batch, K or 1, length, dim)``.
        A: State matrix, ``(K or 1, dim, state)``, real.
        B: Input matrix, ``(batch, K or 1, length, groups, state)``; ``groups`` divides ``dim``.
        C: Output matrix, as ``B``.
        D: Skip connection, ``(K or 1, dim)``.
        delta_bias: Added to ``delta``, ``(K or 1, dim)``.
        delta_softplus: Whether softplus is applied to ``delta + delta_bias``.
        orders: ``(K, length)``; ``orders[k, t]`` is the token that direction k visits at step t.
            None: K = 1, in order.
        order_all: Whether ``delta``, ``B`` and ``C`` lie at the tokens' own places and follow the
            order too, or (False) are indexed by the step, so that only ``u`` follows the order.

    Returns:
        The sum over directions of the outputs, each added at its token's own place,
        ``(batch, length, dim)`` in the dtype of ``u``; and the last states,
        ``(batch, K, dim, state)`` in at least float32.
    """
    out_dtype = u.dtype
    dtype = torch.promote_types(out_dtype, torch.float32)
    u, delta, A, B, C = (x.to(dtype) for x in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(dtype)[None, :, None, :]
    if delta_softplus:
        delta = F.softplus(delta)

    batch, _, length, dim = u.shape
    directions = 1 if orders is None else orders.shape[0]
    u, delta = (x.expand(batch, directions, length, dim) for x in (u, delta))
    B, C = (x.expand(batch, directions, length, *x.shape[3:]) for x in (B, C))
    A = A.expand(directions, *A.shape[1:])

    out = u.new_zeros(batch, length, dim)
    last_states = []
    for k in range(directions):
        order = orders[k] if orders is not None else torch.arange(length, device=u.device)
        u_k = u[:, k, order]
        delta_k, B_k, C_k = (x[:, k, order] if order_all else x[:, k] for x in (delta, B, C))
        y, state = _scan_one_direction(u_k, delta_k, A[k], B_k, C_k)
        if D is not None:
            y = y + u_k * D.to(dtype).expand(directions, dim)[k]
        out = out.index_add(1, order, y)
        last_states.append(state)
    return out.to(out_dtype), torch.stack(last_states, dim=1)


def _scan_one_direction(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor]:
    batch, length, dim = u.shape
    repeats = dim // B.shape[2]
    state = u.new_zeros(batch, dim, A.shape[-1])
    outputs = []
    for t in range(length):
        B_t, C_t = (
            x[:, t].repeat_interleave(repeats, dim=1) for x in (B, C)
        )  # (batch, dim, state)
        decay = torch.exp(delta[:, t, :, None] * A)
        state = decay * state + (delta[:, t] * u[:, t])[..., None] * B_t
        outputs.append((state * C_t).sum(-1))
    return torch.stack(outputs, dim=1), state

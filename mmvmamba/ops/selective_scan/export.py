"""The ``export`` backend: the scan of a fixed length in plain operators, for graphs that leave
PyTorch.

The steps are cut into chunks. All chunks advance together, first from a state of zero, which gives
what each makes of the states; pairs (decay, input) of whole chunks are combined by doubling, which
gives the state before each; and the chunks advance once more from there. A decay is the exponential
of what is never positive for a negative ``A``, so that no factor is above 1; nothing is divided,
and no product of decays is accumulated.

The number of operators grows with the logarithm of the length, and none is a loop. A chunk has so
few steps that each is written out: operators over one step of all chunks stay in a CPU's cache and
are several times faster than those over all steps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import torch as torch_backend
from .arguments import ScanArgs
from .torch import backward

__all__ = ['backward', 'forward', 'plain_scan', 'unavailable_reason']

# Six doublings combine so many chunks. A longer sequence has longer chunks, then more of them.
CHUNKS = 64
MAX_STEPS = 16


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    """Runs everywhere."""
    return None


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    if chunk_length:
        # Compiled for training before this backend was asked for: gradients want checkpoints.
        return torch_backend.forward(args, chunk_length, with_last_state)
    out, last_state = plain_scan(args)
    return out.contiguous(), last_state.contiguous() if with_last_state else None, None


def steps_in_chunk(length: int) -> int:
    return min(MAX_STEPS, (length + CHUNKS - 1) // CHUNKS)


def plain_scan(args: ScanArgs) -> tuple[Tensor, Tensor]:
    """Scans as ``selective_scan_ref`` does, in operators that every format has and autograd knows.

    In this file D is the number of channels and S that of states of a group, G that of groups, K
    that of directions, n that of chunks and c that of steps in one.
    """
    dtype = args.compute_dtype
    u, delta, A, B, C = (x.to(dtype) for x in args[:5])
    if args.delta_bias is not None:
        delta = delta + args.delta_bias.to(dtype)[:, None]
    if args.delta_softplus:
        delta = F.softplus(delta)

    groups, steps = B.shape[3], steps_in_chunk(args.length)
    rows = _chunked_rows(args, u, delta, B.flatten(3), C.flatten(3), steps)
    A = A.transpose(1, 2).unsqueeze(1)  # (K, 1, S, D)
    if groups > 1:
        rows = [_groups_to_directions(x, groups) for x in rows]
        A = _groups_to_directions(A.expand(args.directions, -1, -1, -1)[None], groups)[0]
    y, last_state = _scan_chunks(rows, A, (args.length - 1) % steps)
    if groups > 1:
        y = _directions_to_groups(y, groups)
        last_state = _directions_to_groups(last_state, groups)

    out = _to_tokens(y.flatten(2, 3), args)
    if args.D is not None:
        out = out + _skip(u, args.D.to(dtype), args.directions)
    return out.to(args.u.dtype), last_state.squeeze(2).transpose(-1, -2)


def _chunked_rows(
    args: ScanArgs, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, steps: int
) -> list[Tensor]:
    """delta * u, delta, B and C in the order of the steps, each ``(batch, K or 1, n, c, ...)``."""
    if args.orders is not None and not args.order_all:
        u = _gather_chunks(u, args.orders, steps)
        delta, B, C = (_cut_chunks(x, steps) for x in (delta, B, C))
        return [delta * u, delta, B, C]
    rows = [delta * u, delta, B, C]
    # One gather for all of them.
    directions = max(x.shape[1] for x in rows)
    together = torch.cat([_share(x, directions) for x in rows], dim=-1)
    if args.orders is None:
        together = _cut_chunks(together, steps)
    else:
        together = _gather_chunks(together, args.orders, steps)
    return list(together.split([x.shape[-1] for x in rows], dim=-1))


def _share(x: Tensor, directions: int) -> Tensor:
    return x if x.shape[1] == directions else x.expand(-1, directions, -1, -1)


def _cut_chunks(x: Tensor, steps: int) -> Tensor:
    """(batch, K, length, ...) to (batch, K, n, c, ...); steps that are missing are zeros."""
    missing = -x.shape[2] % steps
    if missing:
        x = F.pad(x, (0, 0, 0, missing))
    chunks: Tensor = x.unflatten(2, (-1, steps))
    return chunks


def _gather_chunks(x: Tensor, orders: Tensor, steps: int) -> Tensor:
    """Brings tokens into the orders of all directions: ``(batch, K, n, c, ...)``."""
    length = orders.shape[1]
    # Steps behind the last one are those of any token: nothing comes after them.
    places = F.pad(orders, (0, -length % steps))
    if x.shape[1] > 1:
        places = places + length * torch.arange(len(orders), device=orders.device)[:, None]
    gathered = x.flatten(1, 2).index_select(1, places.flatten())
    chunks: Tensor = gathered.unflatten(1, (len(orders), -1, steps))
    return chunks


def _scan_chunks(rows: list[Tensor], A: Tensor, last: int) -> tuple[Tensor, Tensor]:
    """The outputs ``(batch, K, n, c, D)``, and the state ``(batch, K, 1, S, D)`` after the step
    ``last`` of the last chunk.
    """
    du, delta, B, C = rows
    # A slice keeps its axis of one step, which is that of the states in a product.
    decays = [torch.exp(step * A) for step in delta.split(1, dim=3)]
    inputs = [
        step * column
        for step, column in zip(du.split(1, dim=3), B.transpose(3, 4).split(1, dim=4), strict=True)
    ]
    state = inputs[0]
    for decay, value in zip(decays[1:], inputs[1:], strict=True):
        state = decay * state + value
    whole = torch.exp(delta.sum(3, keepdim=True) * A)
    state = _shift(_double(whole, state), 1)
    outputs = []
    for i, row in enumerate(C.split(1, dim=3)):
        state = decays[i] * state + inputs[i]
        outputs.append(row * state if state.shape[3] == 1 else row @ state)
        if i == last:
            last_state = state[:, :, -1:]
    return torch.cat(outputs, dim=3), last_state


def _double(decay: Tensor, state: Tensor) -> Tensor:
    """The state after each chunk, from what each makes of a state before it: all pairs of chunks
    that are 1, 2, 4, ... apart are combined.
    """
    chunks, apart = state.shape[2], 1
    while apart < chunks:
        state = state + decay * _shift(state, apart)
        apart *= 2
        if apart < chunks:
            # What comes from before the first chunk is zero, whatever its factor.
            decay = decay * _shift(decay, apart // 2)
    return state


def _shift(x: Tensor, count: int) -> Tensor:
    """Moves chunks (axis 2 of 5) back by a count; zeros come in."""
    return F.pad(x, (0, 0, 0, 0, count, -count))


def _to_tokens(y: Tensor, args: ScanArgs) -> Tensor:
    """Sums directions, each output at its token's place: (batch, K, n * c, D) to (batch, length,
    D).
    """
    if args.orders is None:
        return y[:, 0, : args.length]
    starts = y.shape[2] * torch.arange(args.directions, device=y.device)[:, None]
    places = _inverse(args.orders) + starts
    gathered = y.flatten(1, 2).index_select(1, places.flatten())
    by_direction: Tensor = gathered.unflatten(1, places.shape)
    return by_direction.sum(1)


def _inverse(orders: Tensor) -> Tensor:
    """``_inverse(orders)[k, token]`` is the step at which direction k visits the token."""
    steps = torch.arange(orders.shape[1], device=orders.device).expand_as(orders)
    return torch.zeros_like(orders).scatter(1, orders, steps)


def _skip(u: Tensor, D: Tensor, directions: int) -> Tensor:
    """D * u summed over directions, ``(batch, length, D)``."""
    if u.shape[1] == 1:
        return u[:, 0] * D.expand(directions, -1).sum(0)
    return (u * D[:, None]).sum(1)


def _groups_to_directions(x: Tensor, groups: int) -> Tensor:
    """(batch, K, n, c, G * R) to (batch, K * G, n, c, R): a group is scanned like a direction."""
    parted: Tensor = x.unflatten(-1, (groups, -1))
    return parted.movedim(-2, 2).flatten(1, 2)


def _directions_to_groups(x: Tensor, groups: int) -> Tensor:
    parted: Tensor = x.unflatten(1, (-1, groups))
    return parted.movedim(2, -2).flatten(-2)

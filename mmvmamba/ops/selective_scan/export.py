"""The ``export`` backend: the scan of a fixed length in plain operators, for graphs that leave
PyTorch.

The steps are cut into chunks. All chunks advance together, first from a state of zero, which gives
what each makes of the states; pairs (decay, input) of whole chunks are combined by doubling, which
gives the state before each; and the chunks advance once more from there. A decay is the exponential
of what is never positive for a negative ``A``, so that no factor is above 1; nothing is divided,
and no product of decays is accumulated.

The number of operators grows with the logarithm of the length, and none is a loop. A chunk has so
few steps that each is written out: operators over one step of all chunks stay in a CPU's cache and
are several times faster than those over all steps. What comes first is therefore the step in its
chunk, then the chunk: the tokens are gathered in this order.

In this file D is the number of channels and S that of states of a group, G that of groups, K that
of directions, n that of chunks and c that of steps in one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import torch as torch_backend
from .arguments import ScanArgs
from .torch import backward

__all__ = ['backward', 'forward', 'plain_scan', 'unavailable_reason']

# Doublings combine so many chunks. A longer sequence has longer chunks, then more of them.
CHUNKS, CHUNKS_OF_FEW_DECAYS, CHUNKS_OF_ONE_STATE = 64, 32, 14
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


def plain_scan(args: ScanArgs) -> tuple[Tensor, Tensor]:
    """Scans as ``selective_scan_ref`` does, in operators that every format and autograd have."""
    dtype = args.compute_dtype
    u, delta, A, B, C = (x.to(dtype) for x in args[:5])
    if args.delta_bias is not None:
        delta = delta + args.delta_bias.to(dtype)[:, None]
    if args.delta_softplus:
        delta = F.softplus(delta)

    groups, steps = B.shape[3], _steps_in_chunk(args)
    rows = _rows(args, steps, u, delta, B.flatten(3), C.flatten(3))
    A = A.transpose(1, 2).unsqueeze(1)  # (K, 1, S, D)
    if groups > 1:
        rows = [_groups_to_directions(x, groups) for x in rows]
        A = _groups_to_directions(A.expand(args.directions, -1, -1, -1)[None], groups)[0]
    decays = _decays(rows[1], A, steps, at_once=_has_few_decays(args))
    y, last_state = _scan_chunks(rows, A, decays, (args.length - 1) % steps)
    if groups > 1:
        y = _directions_to_groups(y, groups)
        last_state = _directions_to_groups(last_state, groups)

    out = _sum_at_tokens(y, args, u)
    return out.to(args.u.dtype), last_state.squeeze(2).transpose(-1, -2)


def _has_few_decays(args: ScanArgs) -> bool:
    """Whether there are fewer decays than states of all steps, or as few as inputs."""
    return args.A.shape[2] == 1 or args.delta.shape[1] < args.directions


def _steps_in_chunk(args: ScanArgs) -> int:
    if args.A.shape[2] == 1:
        chunks = CHUNKS_OF_ONE_STATE
    else:
        # Where decays are computed at once, longer chunks take few operators more.
        chunks = CHUNKS_OF_FEW_DECAYS if _has_few_decays(args) else CHUNKS
    return min(MAX_STEPS, -(-args.length // chunks))


def _rows(
    args: ScanArgs, steps: int, u: Tensor, delta: Tensor, B: Tensor, C: Tensor
) -> list[Tensor]:
    """delta * u, delta, B, C in the order of the steps, each ``(batch, K or 1, c * n, 1, ...)``."""
    count = -(-args.length // steps) * steps
    # Steps behind the last one are those of its token: nothing comes after them.
    when = torch.arange(count, device=u.device).clamp_max(args.length - 1)
    when = when.view(-1, steps).t().flatten()
    places = when[None] if args.orders is None else args.orders[:, when]
    parts = [delta, B, C]
    if args.order_all and args.A.shape[2] > 1 and all(x.shape[1] == u.shape[1] for x in parts):
        # One gather for all of them: with several states they are little beside these.
        parts = [delta * u, *parts]
        gathered = _gather(torch.cat(parts, dim=-1), places)
        return list(gathered.split([x.shape[-1] for x in parts], dim=-1))
    delta, B, C = (_gather(x, places if args.order_all else when[None]) for x in parts)
    return [delta * _gather(u, places), delta, B, C]


def _gather(x: Tensor, places: Tensor) -> Tensor:
    """Rows of ``(batch, K or 1, length, X)`` at places ``(K or 1, ...)``: ``(batch, K, ..., 1,
    X)``.
    """
    if len(places) == 1:
        return x.index_select(2, places[0]).unsqueeze(3)
    if x.shape[1] > 1:
        places = places + x.shape[2] * torch.arange(x.shape[1], device=x.device)[:, None]
    gathered = x.flatten(1, 2).index_select(1, places.flatten())
    rows: Tensor = gathered.unflatten(1, (*places.shape, 1))
    return rows


def _decays(delta: Tensor, A: Tensor, steps: int, at_once: bool) -> Sequence[Tensor]:
    """The decays of each step in a chunk, ``(batch, K or 1, n, S, D)``."""
    chunks = delta.shape[2] // steps
    if at_once:
        decays: Sequence[Tensor] = torch.exp(delta * A).split(chunks, dim=2)
        return decays
    return [torch.exp(step * A) for step in delta.split(chunks, dim=2)]


def _scan_chunks(
    rows: list[Tensor], A: Tensor, decays: Sequence[Tensor], last: int
) -> tuple[Tensor, Tensor]:
    """The outputs ``(batch, K, c * n, 1, D)``, and the state ``(batch, K, 1, S, D)`` after the step
    ``last`` of the last chunk.
    """
    du, delta, B, C = rows
    chunks = delta.shape[2] // len(decays)
    steps = zip(du.split(chunks, dim=2), B.transpose(3, 4).split(chunks, dim=2), strict=True)
    inputs = [step * column for step, column in steps]
    state = inputs[0]
    for decay, value in zip(decays[1:], inputs[1:], strict=True):
        state = decay * state + value
    whole = torch.exp(delta.unflatten(2, (-1, chunks)).sum(2) * A)
    state = _shift(_double(whole, state), 1)
    outputs = []
    for i, row in enumerate(C.split(chunks, dim=2)):
        state = decays[i] * state + inputs[i]
        outputs.append(row * state if state.shape[3] == 1 else row @ state)
        if i == last:
            last_state = state[:, :, -1:]
    return torch.cat(outputs, dim=2), last_state


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


def _sum_at_tokens(y: Tensor, args: ScanArgs, u: Tensor) -> Tensor:
    """Sums the outputs of all directions, and D * u, at their tokens: ``(batch, length, D)``."""
    steps = _steps_in_chunk(args)
    chunks = y.shape[2] // steps
    device = y.device
    visits = torch.arange(args.length, device=device)[None]
    if args.orders is not None:
        visits = _inverse(args.orders)
    places = visits % steps * chunks + visits // steps
    places = places + y.shape[2] * torch.arange(args.directions, device=device)[:, None]
    gathered = y.flatten(1, 3).index_select(1, places.flatten())
    out: Tensor = gathered.unflatten(1, places.shape)
    if args.D is None:
        return _sum_directions(out)
    D = args.D.to(u.dtype)
    if u.shape[1] == args.directions:
        return _sum_directions(out + u * D[:, None])
    return _sum_directions(out) + u.flatten(1, 2) * D.expand(args.directions, -1).sum(0)


def _sum_directions(x: Tensor) -> Tensor:
    """Sums over axis 1 of ``(batch, K, length, D)``."""
    # As a product of matrices: several times as fast as onnxruntime's own sum over this axis.
    ones = x.new_ones(1, x.shape[1])
    out: Tensor = torch.matmul(ones, x.flatten(2)).squeeze(1).unflatten(1, x.shape[2:])
    return out


def _inverse(orders: Tensor) -> Tensor:
    """``_inverse(orders)[k, token]`` is the step at which direction k visits the token."""
    steps = torch.arange(orders.shape[1], device=orders.device).expand_as(orders)
    return torch.zeros_like(orders).scatter(1, orders, steps)


def _groups_to_directions(x: Tensor, groups: int) -> Tensor:
    """(batch, K, ..., G * R) to (batch, K * G, ..., R): a group is scanned like a direction."""
    parted: Tensor = x.unflatten(-1, (groups, -1))
    return parted.movedim(-2, 2).flatten(1, 2)


def _directions_to_groups(x: Tensor, groups: int) -> Tensor:
    parted: Tensor = x.unflatten(1, (-1, groups))
    return parted.movedim(2, -2).flatten(-2)

"""What goes on inside a backbone, noted while it sees an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmvmamba.layers.attention import Attention

__all__ = ['AttentionMap', 'Scan', 'record_attention', 'record_scans']


@dataclass(frozen=True)
class Scan:
    """A selective scan over the tokens of one map, or of one window of it.

    Args:
        grid: Height and width of what the tokens are from.
        paths: Places in the order of visit, (directions, steps); tokens that are no part of the
            grid (class tokens) are left out.
        steps: Step sizes at each step of a path, (directions, steps, channels).
        A: (directions, channels, states).
    """

    grid: tuple[int, int]
    paths: Tensor
    steps: Tensor
    A: Tensor

    @torch.no_grad()
    def decay(self, place: int) -> Tensor:
        """How much of what each token wrote is left in the state as the scan comes to a place.

        That is the product of ``exp(delta A)`` over all steps after it, averaged over channels and
        states.

        Args:
            place: A token of the grid, in raster order.

        Returns:
            Shares from 0 to 1 by direction and place; 0 for what comes later.
        """
        maps = torch.zeros(len(self.paths), self.paths.shape[1])
        for i, (path, steps, A) in enumerate(zip(self.paths, self.steps, self.A, strict=True)):
            end = int((path == place).nonzero())
            # Over the steps behind a token, up to the place.
            after = steps[: end + 1].flip(0).cumsum(0).flip(0) - steps[: end + 1]
            shares = torch.exp(after[..., None] * A).mean(dim=(1, 2))
            maps[i, path[: end + 1]] = shares
        return maps


@dataclass(frozen=True)
class AttentionMap:
    """Where each token of a window looks, averaged over the heads.

    Args:
        name: Of the module.
        weights: (windows, tokens, tokens); each row sums to one.
    """

    name: str
    weights: Tensor


# Their arguments begin alike.
SCANS = (torch.ops.mmvmamba.selective_scan, torch.ops.mmvmamba.gated_scan)


class _Recorder(TorchDispatchMode):
    """Keeps the arguments of every selective scan."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if operator._overloadpacket in SCANS:
            self.calls.append(args)
        return operator(*args, **(kwargs or {}))


def record_scans(backbone: nn.Module, image: Tensor) -> list[Scan]:
    """Notes the scans of a backbone, the first block's first.

    Args:
        backbone: One of ours, in evaluation mode.
        image: ``(1, C, H, W)``.

    Raises:
        ValueError: The backbone has none.
    """
    with torch.no_grad(), _Recorder() as recorder:
        backbone(image)
    if not recorder.calls:
        raise ValueError(f'{type(backbone).__name__} has no selective scan to look at')
    return [_scan(args, image.shape[2:]) for args in recorder.calls]


def _scan(args: Sequence, size: Sequence[int]) -> Scan:
    u, delta, A, _, _, _, bias, orders, softplus, order_all, *_ = args
    length = u.shape[2]
    if orders is None:
        orders = torch.arange(length)[None]
    # Of the first image or window: (directions, length, channels).
    steps = delta[0].float().expand(len(orders), -1, -1)
    bias = None if bias is None else bias.float()
    steps = steps if bias is None else steps + bias.expand(len(orders), -1)[:, None]
    steps = F.softplus(steps) if softplus else steps
    if order_all:
        steps = torch.stack([step[order] for step, order in zip(steps, orders, strict=True)])
    grid, extra = _grid(length, size)
    if extra is not None:
        orders, steps = _without(orders, steps, extra)
    return Scan(grid, orders, steps, A.float().expand(len(orders), -1, -1))


def _grid(length: int, size: Sequence[int]) -> tuple[tuple[int, int], int | None]:
    """Height and width of so many tokens, and which one is none of them."""
    height, width = size
    for extra in (None, length // 2):
        count = length - (extra is not None)
        for stride in (1, 2, 4, 8, 16, 32):
            grid = -(-height // stride), -(-width // stride)
            if grid[0] * grid[1] == count:
                return grid, extra
        side = round(count**0.5)
        if side * side == count:
            return (side, side), extra
    return (1, length), None


def _without(orders: Tensor, steps: Tensor, extra: int) -> tuple[Tensor, Tensor]:
    kept = orders != extra
    count = orders.shape[1] - 1
    steps = steps[kept].unflatten(0, (len(orders), count))
    orders = orders[kept].unflatten(0, (len(orders), count))
    return orders - (orders > extra).long(), steps


def record_attention(backbone: nn.Module, image: Tensor) -> list[AttentionMap]:
    """Notes the maps of all softmax attentions of a backbone.

    Args:
        backbone: One of ours, in evaluation mode.
        image: ``(1, C, H, W)``.

    Raises:
        ValueError: The backbone has none.
    """
    found: list[AttentionMap] = []

    def note(name: str, module: Attention, x: Tensor) -> None:
        q, k, _ = module.qkv(x).unflatten(-1, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = module.q_norm(q), module.k_norm(k)
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if module.causal:
            logits = logits.masked_fill(logits.new_ones(logits.shape[-2:]).triu(1) > 0, -torch.inf)
        found.append(AttentionMap(name, logits.softmax(-1).mean(1)))

    hooks = [
        module.register_forward_pre_hook(lambda module, args, name=name: note(name, module, *args))
        for name, module in backbone.named_modules()
        if isinstance(module, Attention)
    ]
    if not hooks:
        raise ValueError(f'{type(backbone).__name__} has no softmax attention to look at')
    try:
        with torch.no_grad():
            backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found

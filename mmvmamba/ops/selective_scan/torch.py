"""The ``torch`` backend: a loop over time in plain PyTorch, on any device, in float32 or float64.

It follows ``selective_scan_ref`` step by step and differs in one thing: it never holds a tensor of
size (batch, length, dim, state). The forward pass keeps one state; the backward pass recomputes the
states of one chunk at a time. The maths of the backward pass is derived in the README beside this
file.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import ScanArgs

__all__ = ['backward', 'forward', 'unavailable_reason']


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    """Runs everywhere."""
    return None


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    steps = _Steps(args)
    out = args.u.new_zeros(args.batch, args.length, args.dim, dtype=args.compute_dtype)
    state = _zero_state(args)
    checkpoints = []
    for t in range(args.length):
        if chunk_length and t % chunk_length == 0:
            checkpoints.append(state.transpose(-1, -2))
        u, delta, B, C = steps.load(t)
        state = torch.exp(delta[..., None] * steps.A) * state + (delta * u)[..., None] * B
        y = (state * C).sum(-1)
        if steps.D is not None:
            y = y + steps.D * u
        for k in range(args.directions):
            out[:, steps.token(k, t)] += y[:, k]
    return (
        out.to(args.u.dtype),
        state if with_last_state else None,
        torch.stack(checkpoints, dim=2) if chunk_length else None,
    )


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    steps = _Steps(args)
    grad_out = grad_out.to(args.compute_dtype)
    sums = _Gradients(args)
    # The gradient that reaches the state of a step from all later steps.
    carry = _zero_state(args) if grad_last_state is None else grad_last_state.clone()
    for chunk in reversed(range(checkpoints.shape[2])):
        start = chunk * chunk_length
        states = [checkpoints[:, :, chunk].transpose(-1, -2)]
        for t in range(start, min(start + chunk_length, args.length)):
            u, delta, B, _ = steps.load(t)
            decay = torch.exp(delta[..., None] * steps.A)
            states.append(decay * states[-1] + (delta * u)[..., None] * B)
        for t in reversed(range(start, min(start + chunk_length, args.length))):
            u, delta, B, C = steps.load(t)
            dy = torch.stack(
                [grad_out[:, steps.token(k, t)] for k in range(args.directions)], dim=1
            )
            state = states.pop()
            dstate = carry + dy[..., None] * C
            decay = torch.exp(delta[..., None] * steps.A)
            carry = dstate * decay
            dexponent = carry * states[-1]  # of delta * A
            dinput = (dstate * B).sum(-1)  # of delta * u
            du = delta * dinput
            if steps.D is not None:
                du = du + steps.D * dy
                sums.dD += (dy * u).sum(0)
            ddelta = (dexponent * steps.A).sum(-1) + u * dinput
            if args.delta_softplus:
                ddelta = ddelta * torch.sigmoid(steps.raw_delta(t))
            sums.dA += (dexponent * delta[..., None]).sum(0)
            sums.ddelta_bias += ddelta.sum(0)
            sums.add_step(
                steps, t, du, ddelta, dstate * (delta * u)[..., None], dy[..., None] * state
            )
    return sums.result()


class _Steps:
    """Reads the tokens of step t, for all directions at once, in the compute dtype."""

    def __init__(self, args: ScanArgs) -> None:
        self.args = args
        dtype = args.compute_dtype
        self.directions = range(args.directions)
        self.order = None if args.orders is None else args.orders.tolist()
        self.A = args.A.to(dtype)
        self.D = None if args.D is None else args.D.to(dtype)
        self.bias = None if args.delta_bias is None else args.delta_bias.to(dtype)

    def token(self, k: int, t: int) -> int:
        return t if self.order is None else self.order[k][t]

    def place(self, name: str, k: int, t: int) -> int:
        """Where direction k finds, at step t, its value of an argument."""
        return self.token(k, t) if name == 'u' or self.args.order_all else t

    def load(self, t: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u and delta ``(batch, K, dim)``, B and C ``(batch, K, dim, state)``."""
        delta = self.raw_delta(t)
        if self.args.delta_softplus:
            delta = F.softplus(delta)
        return self._read('u', t), delta, self._per_channel('B', t), self._per_channel('C', t)

    def raw_delta(self, t: int) -> Tensor:
        delta = self._read('delta', t)
        return delta if self.bias is None else delta + self.bias

    def _read(self, name: str, t: int) -> Tensor:
        x = getattr(self.args, name)
        shared = x.shape[1] == 1
        values = [x[:, 0 if shared else k, self.place(name, k, t)] for k in self.directions]
        return torch.stack(values, dim=1).to(self.args.compute_dtype)

    def _per_channel(self, name: str, t: int) -> Tensor:
        x = self._read(name, t)
        return x.repeat_interleave(self.args.dim // x.shape[2], dim=2)


class _Gradients:
    """Sums of gradients in the compute dtype and in the shapes of the arguments."""

    def __init__(self, args: ScanArgs) -> None:
        self.args = args
        self.du, self.ddelta, self.dB, self.dC = (
            x.new_zeros(x.shape, dtype=args.compute_dtype)
            for x in (args.u, args.delta, args.B, args.C)
        )
        shape = (args.directions, args.dim)
        self.dA = args.u.new_zeros(*shape, args.state, dtype=args.compute_dtype)
        self.dD, self.ddelta_bias = (
            args.u.new_zeros(shape, dtype=args.compute_dtype) for _ in range(2)
        )

    def add_step(
        self, steps: _Steps, t: int, du: Tensor, ddelta: Tensor, dB: Tensor, dC: Tensor
    ) -> None:
        groups = self.args.B.shape[3]
        dB, dC = (x.unflatten(2, (groups, -1)).sum(3) for x in (dB, dC))
        for name, step in (('u', du), ('delta', ddelta), ('B', dB), ('C', dC)):
            total = getattr(self, 'd' + name)
            for k in steps.directions:
                total[:, 0 if total.shape[1] == 1 else k, steps.place(name, k, t)] += step[:, k]

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        args = self.args

        def shaped(total: Tensor, argument: Tensor) -> Tensor:
            if argument.shape[0] == 1 and total.shape[0] > 1:
                total = total.sum(0, keepdim=True)
            return total.to(argument.dtype)

        return (
            self.du.to(args.u.dtype),
            self.ddelta.to(args.delta.dtype),
            shaped(self.dA, args.A),
            self.dB.to(args.B.dtype),
            self.dC.to(args.C.dtype),
            None if args.D is None else shaped(self.dD, args.D),
            None if args.delta_bias is None else shaped(self.ddelta_bias, args.delta_bias),
        )


def _zero_state(args: ScanArgs) -> Tensor:
    return args.u.new_zeros(
        args.batch, args.directions, args.dim, args.state, dtype=args.compute_dtype
    )

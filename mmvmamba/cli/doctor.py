"""Checks every backend of every operator that can run here: ``python -m mmvmamba.doctor``.

Each one computes small cases of the kinds that the models use, forward and backward, and is
compared with the reference in float64. Ends with status 1 if one is wrong.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmvmamba.ops.backends import Backends
from mmvmamba.ops.ms_deform_attn import ms_deform_attn, ms_deform_attn_ref
from mmvmamba.ops.ms_deform_attn.dispatch import DEFORM_ATTN
from mmvmamba.ops.selective_scan import selective_scan, selective_scan_ref
from mmvmamba.ops.selective_scan.dispatch import SCAN
from mmvmamba.testing import TOLERANCES

__all__ = ['OPERATORS', 'check_deform_attn', 'check_scan', 'main']

STATE = 16
CHANNELS = 12
TOLERANCE = TOLERANCES[torch.float32]

# One direction; two that take everything along their order; four of which only the input does.
SCAN_CASES = {
    'one direction': dict(directions=0, order_all=True),
    'bidirectional': dict(directions=2, order_all=True),
    'four directions': dict(directions=4, order_all=False),
}

# What injectors and extractors of an adapter do: samples from a pyramid, and from one map.
DEFORM_ATTN_CASES: dict[str, dict] = {
    'three levels': dict(shapes=((10, 14), (5, 7), (2, 3))),
    'one level': dict(shapes=((5, 7),)),
}


def check_scan(name: str, device: str, directions: int, order_all: bool) -> tuple[float, float]:
    """Runs a backend and the reference on the same random inputs.

    Args:
        name: Name of the backend.
        device: Where it runs.
        directions: Number of random orders, 0 for a plain scan.
        order_all: As in ``selective_scan``.

    Returns:
        The largest error of the output and of the gradients, relative to the largest magnitude of
        the expected values, and the milliseconds of a forward pass.
    """
    inputs, orders = _scan_inputs(directions, order_all)
    doubles = [x.double().requires_grad_() for x in inputs]
    u, delta, A, B, C, D, delta_bias = doubles
    expected, _ = selective_scan_ref(
        u[:, None], delta[:, None], A.expand(max(directions, 1), *A.shape[-2:]),
        B.reshape(B.shape[0], -1, B.shape[-2], 1, STATE),
        C.reshape(C.shape[0], -1, C.shape[-2], 1, STATE),
        D[None], delta_bias[None], True, orders, order_all,
    )  # fmt: skip
    weight = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).view_as(expected)
    wanted = [expected, *torch.autograd.grad(expected, doubles, weight)]

    leaves = [x.to(device).requires_grad_() for x in inputs]
    moved = None if orders is None else orders.to(device)

    def run() -> Tensor:
        u, delta, A, B, C, D, delta_bias = leaves
        return selective_scan(
            *(u, delta, A, B, C, D),
            delta_bias=delta_bias,
            delta_softplus=True,
            channels_last=True,
            orders=moved,
            order_all=order_all,
            backend=name,
        )

    weight = weight.to(device, torch.float32)
    found = run()
    gradients = torch.autograd.grad(found, leaves, weight)
    return _largest_error([found, *gradients], wanted), _milliseconds(run, device)


def check_deform_attn(
    name: str, device: str, shapes: Sequence[tuple[int, int]]
) -> tuple[float, float]:
    """Runs a backend and the reference on the same random inputs.

    Args:
        name: Name of the backend.
        device: Where it runs.
        shapes: Height and width of each level.

    Returns:
        As ``check_scan``.
    """
    generator = torch.Generator().manual_seed(0)
    batch, queries, heads, points = 2, 37, 3, 4
    tokens, samples = sum(h * w for h, w in shapes), (heads, len(shapes), points)
    inputs = [
        torch.randn(batch, tokens, heads, CHANNELS, generator=generator),
        # Some lie outside the map.
        torch.rand(batch, queries, *samples, 2, generator=generator) * 1.4 - 0.2,
        torch.rand(batch, queries, *samples, generator=generator),
    ]
    doubles = [x.double().requires_grad_() for x in inputs]
    expected = ms_deform_attn_ref(doubles[0], shapes, *doubles[1:])
    weight = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).view_as(expected)
    wanted = [expected, *torch.autograd.grad(expected, doubles, weight)]

    value, *rest = leaves = [x.to(device).requires_grad_() for x in inputs]

    def run() -> Tensor:
        return ms_deform_attn(value, shapes, *rest, backend=name)

    found = run()
    gradients = torch.autograd.grad(found, leaves, weight.to(device, torch.float32))
    return _largest_error([found, *gradients], wanted), _milliseconds(run, device)


class Operator(NamedTuple):
    """The backends of an operator, the size they are asked about, and what is run."""

    backends: Backends
    size: int
    cases: dict[str, dict]
    check: Callable[..., tuple[float, float]]


OPERATORS = (
    Operator(SCAN, STATE, SCAN_CASES, check_scan),
    Operator(DEFORM_ATTN, CHANNELS, DEFORM_ATTN_CASES, check_deform_attn),
)


def main() -> int:
    """Prints a table for each operator; returns the exit status."""
    devices = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
    wrong = []
    for operator in OPERATORS:
        print(f'{operator.backends.operator}: force a backend with {operator.backends.variable}')
        print(f'{"backend":11} {"device":7} {"case":16} {"error":>9} {"time":>10}')
        for device in devices:
            for name in operator.backends.modules:
                if not _is_right(operator, name, device):
                    wrong.append(f'{operator.backends.operator} by {name} on {device}')
        print()
    if wrong:
        print(f'wrong results from: {", ".join(wrong)}')
    return 1 if wrong else 0


def _is_right(operator: Operator, name: str, device: str) -> bool:
    """Prints the rows of a backend; returns whether none of them is wrong."""
    kind = (torch.device(device), torch.float32, operator.size)
    reason = operator.backends.unavailable_reason(name, *kind)
    if reason is not None:
        print(f'{name:11} {device:7} not available: {reason}')
        return True
    errors = []
    for case, options in operator.cases.items():
        error, milliseconds = operator.check(name, device, **options)
        verdict = '' if error <= TOLERANCE else f'  WRONG, allowed {TOLERANCE:g}'
        print(f'{name:11} {device:7} {case:16} {error:9.1e} {milliseconds:7.2f} ms{verdict}')
        errors.append(error)
    return max(errors) <= TOLERANCE


def _largest_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    errors = [
        ((a.cpu().double() - b).abs().max() / b.abs().max()).item()
        for a, b in zip(found, wanted, strict=True)
    ]
    # A NaN must not pass for a small error.
    return max(float('inf') if error != error else error for error in errors)


def _scan_inputs(directions: int, order_all: bool) -> tuple[list[Tensor], Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    batch, length, dim = 2, 67, 70

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lead = (batch,) if directions == 0 else (batch, directions)
    own = (directions,) if directions and order_all else ()
    A = -torch.rand(*own, dim, STATE, generator=generator)
    inputs = [
        normal(batch, length, dim),
        normal(batch, length, dim),
        A - 0.1,
        normal(*lead, length, STATE),
        normal(*(lead if order_all else (batch,)), length, STATE),
        normal(dim),
        normal(dim),
    ]
    if directions == 0:
        return inputs, None
    orders = [torch.randperm(length, generator=generator) for _ in range(directions)]
    return inputs, torch.stack(orders)


def _milliseconds(run: Callable[[], object], device: str, repeats: int = 5) -> float:
    times = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            run()
            if device == 'cuda':
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return 1e3 * sorted(times[1:])[repeats // 2]


if __name__ == '__main__':
    sys.exit(main())

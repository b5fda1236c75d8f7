"""Checks every backend of the selective scan that can run here: ``python -m mmvmamba.doctor``.

Each one computes small scans of the kinds that the backbones use, forward and backward, and is
compared with the reference in float64. Ends with status 1 if one is wrong.
"""

import sys
import time

import torch
from torch import Tensor

from mmvmamba.ops.selective_scan import selective_scan, selective_scan_ref
from mmvmamba.ops.selective_scan.dispatch import BACKENDS, backend_module
from mmvmamba.testing import TOLERANCES

__all__ = ['check_backend', 'main']

STATE = 16
TOLERANCE = TOLERANCES[torch.float32]

# One direction; two that take everything along their order; four of which only the input does.
CASES = {
    'one direction': dict(directions=0, order_all=True),
    'bidirectional': dict(directions=2, order_all=True),
    'four directions': dict(directions=4, order_all=False),
}


def check_backend(name: str, device: str, directions: int, order_all: bool) -> tuple[float, float]:
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
    inputs, orders = _inputs(directions, order_all)
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
        *most, delta_bias = leaves
        return selective_scan(
            *most,
            delta_bias=delta_bias,
            delta_softplus=True,
            channels_last=True,
            orders=moved,
            order_all=order_all,
            backend=name,
        )

    actual = run()
    found = [actual, *torch.autograd.grad(actual, leaves, weight.to(device, torch.float32))]
    errors = [
        ((a.cpu().double() - b).abs().max() / b.abs().max()).item()
        for a, b in zip(found, wanted, strict=True)
    ]
    # A NaN must not pass for a small error.
    worst = max(float('inf') if error != error else error for error in errors)
    return worst, _milliseconds(run, device)


def main() -> int:
    """Prints a table; returns the exit status."""
    devices = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
    print(f'{"backend":11} {"device":7} {"case":16} {"error":>9} {"time":>10}')
    wrong = []
    for device in devices:
        for name in BACKENDS:
            reason = backend_module(name).unavailable_reason(
                torch.device(device), torch.float32, STATE
            )
            if reason is not None:
                print(f'{name:11} {device:7} not available: {reason}')
                continue
            for case, options in CASES.items():
                error, milliseconds = check_backend(name, device, **options)
                verdict = '' if error <= TOLERANCE else f'  WRONG, allowed {TOLERANCE:g}'
                print(
                    f'{name:11} {device:7} {case:16} {error:9.1e} {milliseconds:7.2f} ms{verdict}'
                )
                if verdict:
                    wrong.append(name)
    if wrong:
        print(f'wrong results from: {", ".join(sorted(set(wrong)))}')
    return 1 if wrong else 0


def _inputs(directions: int, order_all: bool) -> tuple[list[Tensor], Tensor | None]:
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


def _milliseconds(run, device: str, repeats: int = 5) -> float:
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

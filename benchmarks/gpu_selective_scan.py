"""Times the scan on a GPU as the families call it, each configuration, against mamba_ssm's kernel.

python benchmarks/gpu_selective_scan.py

mamba_ssm's kernel is called by its own ``selective_scan_fn``, in the layout that it wants, all
directions in one call; what brings the sequences into that layout and order does not count. Errors
are those of ours, against the loop over time in float64, as ||ours - loop|| / ||loop||, where that
loop is short.
"""

import argparse
import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import NamedTuple
from unittest import mock

import torch
from common import gpu_median_ms, machine
from family_scans import CASES, TOY_CASES, Scan, scan_on
from torch import Tensor

from mmvmamba.ops.selective_scan import torch as plain
from mmvmamba.ops.selective_scan import triton
from mmvmamba.ops.selective_scan.arguments import ScanArgs
from mmvmamba.ops.selective_scan.reference import selective_scan_ref
from mmvmamba.ops.selective_scan.triton_plan import Config

try:
    from triton.errors import TritonError
except ImportError:
    TritonError = RuntimeError

__all__ = ['PASSES', 'main', 'rows_of']

Run = Callable[[], object]
PASSES = ('forward', 'forward of training', 'backward')
COLUMNS = ('case', 'pass', 'us', 'mamba_ssm us', 'ratio', 'us by configuration', 'error')
NOT_MEASURED = 'not measured'
# Of all directions: the loop over more takes longer than all that is timed.
MOST_CHECKED_STEPS = 800


class Ours(NamedTuple):
    """A scan of the families, and what its backward pass needs."""

    args: ScanArgs
    chunk: int
    checkpoints: Tensor
    grad_out: Tensor

    def run(self, which: str) -> tuple:
        backend = backend_for(self.grad_out)
        if which == 'backward':
            return backend.backward(self.args, self.chunk, self.checkpoints, self.grad_out, None)
        return backend.forward(self.args, self.chunk if which.endswith('training') else 0, False)


def backend_for(x: Tensor) -> ModuleType:
    """Triton, or plain PyTorch for a trial of this script on a machine without a GPU."""
    return triton if x.is_cuda else plain


@contextmanager
def only_config(config: Config | None, known: list[Config] | None = None) -> Iterator[None]:
    """Inside, kernels are launched with one configuration; None is the first, and notes all."""

    def launch_it(kernel, args, plan, variant, configs, launch) -> object:
        if known is not None:
            known.extend(configs)
        return launch(config or configs[0])

    with mock.patch.object(triton, 'run_tuned', launch_it):
        yield


def prepare(scan: Scan, device: str) -> Ours:
    args, chunk = scan_on(device, scan)
    with only_config(None):
        out, _, checkpoints = backend_for(args.u).forward(args, chunk, False)
    assert checkpoints is not None
    return Ours(args, chunk, checkpoints, torch.randn_like(out))


def microseconds(run: Run, repeats: int) -> float:
    return gpu_median_ms(run, repeats) * 1e3


def times_of(ours: Ours, which: str, repeats: int) -> dict[Config | None, float]:
    """Microseconds of a pass with each configuration."""
    configs: list[Config] = []
    with only_config(None, configs):
        ours.run(which)
    found = {}
    for config in dict.fromkeys(configs or [None]):
        with only_config(config):
            found[config] = microseconds(lambda: ours.run(which), repeats)
    return found


@cache
def their_function() -> Callable | None:
    """mamba_ssm's function, if it is installed."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, OSError):
        return None
    return selective_scan_fn


def theirs(args: ScanArgs) -> list[Tensor]:
    """Their arguments: directions are groups of channels, sequences lie in their own order."""
    batch, directions = args.batch, args.directions

    def ordered(x: Tensor, follows: bool) -> Tensor:
        x = x.expand(batch, directions, *x.shape[2:])
        if args.orders is None or not follows:
            return x
        return torch.stack([x[:, k, order] for k, order in enumerate(args.orders)], dim=1)

    def channels(x: Tensor, follows: bool) -> Tensor:
        return ordered(x, follows).to(args.u.dtype).movedim(2, 3).flatten(1, 2).contiguous()

    def matrix(x: Tensor) -> Tensor:
        return ordered(x, args.order_all).to(args.u.dtype).squeeze(3).movedim(2, 3).contiguous()

    def weights(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.expand(directions, *x.shape[1:]).flatten(0, 1).contiguous()

    found = [channels(args.u, True), channels(args.delta, args.order_all), weights(args.A)]
    found += [matrix(args.B), matrix(args.C), weights(args.D), weights(args.delta_bias)]
    return [x if x is None else x.detach().requires_grad_() for x in found]


def their_times(args: ScanArgs, repeats: int) -> dict[str, float]:
    """Microseconds of their passes; empty where the package is missing."""
    scan = their_function()
    if scan is None:
        return {}
    u, delta, A, B, C, D, bias = leaves = theirs(args)

    def forward() -> Tensor:
        return scan(u, delta, A, B, C, D, None, bias, args.delta_softplus)

    with torch.no_grad():
        without_gradient = microseconds(forward, repeats)
    out = forward()
    upstream, present = torch.randn_like(out), [x for x in leaves if x is not None]

    def backward() -> object:
        return torch.autograd.grad(out, present, upstream, retain_graph=True)

    # Theirs keeps the same for a backward pass whether one comes or not.
    found = (without_gradient, without_gradient, microseconds(backward, repeats))
    return dict(zip(PASSES, found, strict=True))


def errors_of(ours: Ours) -> dict[str, float]:
    """The error of the output and the largest one of a gradient, with the first configuration."""
    args = ours.args
    tensors = [x for x in args[:7] if x is not None]
    leaves = [x.double().requires_grad_() for x in tensors]
    rest = iter(leaves)
    exact = ScanArgs(*(None if x is None else next(rest) for x in args[:7]), *args[7:])
    want, _ = selective_scan_ref(
        *exact[:7], exact.delta_softplus, exact.orders, order_all=exact.order_all
    )
    gradients = torch.autograd.grad(want, leaves, ours.grad_out.double())
    with only_config(None):
        outputs = {which: ours.run(which) for which in PASSES}
    found = {which: relative_error(outputs[which][0], want) for which in PASSES[:2]}
    got = [x for x in outputs['backward'] if x is not None]
    pairs = zip(got, gradients, strict=True)
    found['backward'] = max(relative_error(x, y) for x, y in pairs)
    return found


def relative_error(got: Tensor, want: Tensor) -> float:
    got, want = got.detach().double(), want.detach()
    return float((got - want).norm() / want.norm())


def rows_of(name: str, scan: Scan, device: str, repeats: int) -> Iterator[list[str]]:
    ours = prepare(scan, device)
    their = their_times(ours.args, repeats)
    times = {which: times_of(ours, which, repeats) for which in PASSES}
    is_short = ours.args.directions * ours.args.length <= MOST_CHECKED_STEPS
    errors = errors_of(ours) if is_short else {}
    for which in PASSES:
        best = min(times[which].values())
        each = ', '.join(f'{c or ""} {t:.0f}'.strip() for c, t in times[which].items())
        compared = [NOT_MEASURED] * 2
        if their:
            compared = [f'{their[which]:.0f}', f'{their[which] / best:.2f}']
        error = f'{errors[which]:.4f}' if errors else ''
        yield [name, which, f'{best:.0f}', *compared, each, error]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=50)
    parser.add_argument('--case', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--toy', action='store_true', help='a small scan, on any machine')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and not args.toy:
        print('not measured: torch finds no CUDA or ROCm device')
        return
    torch.manual_seed(0)
    print(
        f'{machine(device)}, {datetime.date.today()}, torch {torch.__version__}, '
        f'bfloat16, medians of {args.repeats} runs; the best configuration counts.\n'
    )
    if their_function() is None:
        print('mamba_ssm is not installed: its columns and the ratios are not measured.\n')
    print('| ' + ' | '.join(COLUMNS) + ' |\n' + '| --- ' * len(COLUMNS) + '|', flush=True)
    for name, scan in (TOY_CASES if args.toy else {x: CASES[x] for x in args.case}).items():
        try:
            for row in rows_of(name, scan, device, args.repeats):
                print('| ' + ' | '.join(row) + ' |', flush=True)
        except (RuntimeError, TritonError) as error:
            # One scan that does not run must not cost the others their rows.
            print(f'| {name} | {NOT_MEASURED}: {str(error).splitlines()[0][:120]} |', flush=True)


if __name__ == '__main__':
    main()

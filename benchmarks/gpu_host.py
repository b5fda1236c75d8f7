"""What a GPU costs the host, without one: operators of a forward pass, time before a scan's launch.

python benchmarks/gpu_host.py --out docs/benchmarks/gpu_host.md
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import torch
from common import machine, markdown_table, median, write_report
from torch import Tensor

from mmvmamba.fake_gpu import OperatorLog, fake_autocast, fake_gpu, move_to_fake_gpu
from mmvmamba.models import backbones
from mmvmamba.ops.fused import op
from mmvmamba.ops.selective_scan import gated, selective_scan, triton, triton_kernels

__all__ = ['MODELS', 'count_operators', 'scan_microseconds']

# Model, and its operators before they were joined and weights kept, as it is and under autocast.
MODELS: dict[str, tuple[Callable[[], torch.nn.Module], int, int]] = {
    'vim_tiny': (lambda: backbones.VisionMamba('tiny'), 538, 780),
    'plain_mamba_l1': (lambda: backbones.PlainMamba('L1'), 476, 740),
    'mambavision_t': (lambda: backbones.MambaVision('T'), 239, 447),
    'mambaout_tiny': (lambda: backbones.MambaOut('tiny'), 155, 301),
}
COLUMNS = ('model', 'before', 'now', 'autocast, before', 'autocast, now')
FACTS = """# What a GPU costs the host

Operators that a GPU is given for one image of 224 x 224 in evaluation, counted on tensors without
data; attention counts for all that it is made of without a GPU's own kernel. Half of the former
number is reached by all but MambaVision and MambaOut in full precision: without casts to save,
their blocks hold matrix products, convolutions, activations and sums alone. Products and
convolutions are 74 of MambaVision's 187 and 61 of MambaOut's 123. Left to be joined are the last
sum of a block and the norm of the next one (16 and 18 operators) and MambaVision's concatenations
(6): with them, half would still not be reached.

A scan call in evaluation on {machine}, its kernels replaced by nothing, takes {scan:.0f} us
(median; the shortest {scan_least:.0f}) up to where Triton would launch, with a gate {gated:.0f} us
({gated_least:.0f}). What Triton itself takes to launch is not in it."""


def count_operators(model: torch.nn.Module, autocast: bool) -> int:
    """Operators of the second forward pass; the first keeps what depends on weights alone."""
    with fake_gpu(), torch.no_grad():
        move_to_fake_gpu(model.eval())
        image = torch.empty(1, 3, 224, 224, device='cuda')
        for _ in range(2):
            with fake_autocast() if autocast else nullcontext(), OperatorLog() as log:
                model(image)
    return len(log.operators)


class _Nothing:
    """Stands for a kernel."""

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **constants: None


@contextmanager
def without_kernels() -> Iterator[None]:
    """Inside, the Triton backend takes tensors of the CPU, and its kernels do nothing."""
    with (
        mock.patch.multiple(triton_kernels, **dict.fromkeys(triton_kernels.__all__, _Nothing())),
        mock.patch.object(triton, 'unavailable_reason', lambda *kind: None),
        mock.patch.object(op, 'FUSED_DEVICES', ('cpu',)),
        mock.patch.object(op, 'triton_unavailable_reason', lambda device: None),
        # On the CPU alone, where it costs little beside a scan.
        mock.patch.object(gated, 'check_values', lambda *given: None),
    ):
        yield


def scan_microseconds(with_gate: bool, calls: int = 1000) -> tuple[float, float]:
    """Median and shortest time of a scan in evaluation, with kernels that do nothing."""
    x = torch.zeros(1, 196, 384)
    matrix, A, vector = torch.zeros(1, 196, 16), -torch.ones(384, 16), torch.ones(384)

    def run() -> Tensor:
        return selective_scan(
            x, x, A, matrix, matrix, vector, z, vector, True, channels_last=True, backend='triton'
        )

    z = x if with_gate else None
    times = []
    with torch.no_grad(), without_kernels():
        for _ in range(calls):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return median(times) * 1e6, min(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, help='Markdown file; printed if not given')
    args = parser.parse_args()
    rows = []
    for name, (build, before, before_autocast) in MODELS.items():
        model = build()
        now, now_autocast = (count_operators(model, autocast) for autocast in (False, True))
        numbers = (before, now, before_autocast, now_autocast)
        rows.append(dict(zip(COLUMNS, (name, *map(str, numbers)), strict=True)))
    (scan, scan_least), (gated, gated_least) = map(scan_microseconds, (False, True))
    facts = FACTS.format(
        machine=machine(), scan=scan, scan_least=scan_least, gated=gated, gated_least=gated_least
    )
    write_report(facts, markdown_table(COLUMNS, rows), args.out)


if __name__ == '__main__':
    main()

"""Times deformable attention on a GPU, each backend against the others, and prints Markdown.

python benchmarks/gpu_deform_attn.py
"""

import argparse
import datetime
from collections.abc import Sequence

import torch
from common import gpu_median_ms, machine, markdown_table, peak_memory, show_ms

from mmvmamba.ops.ms_deform_attn import available_backends, ms_deform_attn
from mmvmamba.ops.ms_deform_attn.dispatch import DEFORM_ATTN

# An image of 800 x 1333: its maps at strides 8, 16 and 32.
PYRAMID = ((100, 168), (50, 84), (25, 42))
# name: shapes of the value's levels, queries, batch, heads, channels. PlainMamba-L1 and -L3.
CASES = {
    'injector of L1': (PYRAMID, 50 * 84, 2, 6, 32),
    'extractor of L1': (PYRAMID[1:2], sum(h * w for h, w in PYRAMID), 2, 6, 32),
    'injector of L3': (PYRAMID, 50 * 84, 2, 8, 56),
    'extractor of L3': (PYRAMID[1:2], sum(h * w for h, w in PYRAMID), 2, 8, 56),
}
TOY_CASES = {'toy': (((3, 4), (2, 2)), 5, 1, 2, 4)}
POINTS = 4
COLUMNS = ('case', 'backend', 'forward ms', 'forward+backward ms', 'peak MB', 'torch : backend')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--repeats', type=int, default=50)
    parser.add_argument('--toy', action='store_true', help='a small case, on any machine')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and not args.toy:
        print('not measured: torch finds no CUDA or ROCm device')
        return
    torch.manual_seed(0)
    print(
        f'{machine(device)}, {datetime.date.today()}, torch {torch.__version__}, '
        f'float32 as the adapters compute, medians of {args.repeats} runs. The last column is the '
        'ratio of the times of a forward and backward pass.\n'
    )
    rows = []
    for case, sizes in (TOY_CASES if args.toy else CASES).items():
        usable = available_backends(device, torch.float32, sizes[-1])
        found = {name: measure(name, *sizes, args.repeats, device) for name in usable}
        for name in DEFORM_ATTN.modules:
            forward, both, peak = found.get(name, (None, None, None))
            ratio = 'not measured' if both is None else f'{found["torch"][1] / both:.2f}'
            cells = (case, name, show_ms(forward), show_ms(both), show_ms(peak), ratio)
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
    print(markdown_table(COLUMNS, rows))


def measure(
    backend: str,
    shapes: Sequence[tuple[int, int]],
    queries: int,
    batch: int,
    heads: int,
    channels: int,
    repeats: int,
    device: str,
) -> tuple[float, float, float]:
    """Forward ms, forward and backward ms, and peak MB."""
    samples = (batch, queries, heads, len(shapes), POINTS)
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, channels, device=device)
    leaves = [value, torch.rand(*samples, 2, device=device), torch.rand(*samples, device=device)]
    leaves = [x.requires_grad_() for x in leaves]
    upstream = torch.randn(batch, queries, heads * channels, device=device)

    def forward() -> torch.Tensor:
        return ms_deform_attn(leaves[0], shapes, *leaves[1:], backend=backend)

    def both() -> None:
        torch.autograd.grad(forward(), leaves, upstream)

    with torch.no_grad():
        forward_ms = gpu_median_ms(forward, repeats)
    return forward_ms, gpu_median_ms(both, repeats), peak_memory(both, device)


if __name__ == '__main__':
    main()

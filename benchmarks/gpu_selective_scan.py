"""Times the selective scan on a GPU against mamba_ssm's CUDA kernel and prints Markdown.

python benchmarks/gpu_selective_scan.py
"""

import argparse
import datetime

import torch
from common import gpu_median_ms, machine, peak_memory, show_ms

from mmvmamba.ops.selective_scan import available_backends, selective_scan

# batch, length, dim, state
SHAPES = [
    (128, 196, 384, 16),
    (64, 729, 384, 16),
    (2, 4200, 768, 16),
    (256 * 16, 49, 320, 8),
    (256, 3136, 96, 1),
]
TOY_SHAPES = [(1, 20, 8, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=50)
    parser.add_argument('--toy', action='store_true', help='a small scan, on any machine')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and not args.toy:
        print('not measured: torch finds no CUDA or ROCm device')
        return
    torch.manual_seed(0)
    backends = [
        name
        for name in ('triton', 'mamba_ssm')
        if name in available_backends(device, torch.bfloat16)
    ]
    print(
        f'{machine(device)}, {datetime.date.today()}, torch {torch.__version__}, '
        f'bfloat16, medians of {args.repeats} runs.\n'
    )
    if 'mamba_ssm' not in backends:
        print('mamba_ssm is not installed: its columns and the ratios are not measured.\n')
    print(
        '| batch, length, dim, state | triton forward ms | mamba_ssm forward ms | ratio '
        '| triton forward+backward ms | mamba_ssm forward+backward ms | ratio '
        '| triton peak MB | mamba_ssm peak MB |\n|---|---|---|---|---|---|---|---|---|'
    )
    for shape in TOY_SHAPES if args.toy else SHAPES:
        found = {backend: measure(backend, shape, args.repeats, device) for backend in backends}
        if args.toy:
            found['triton'] = measure('auto', shape, args.repeats, device)
        cells = [', '.join(map(str, shape))]
        for index in range(2):
            pair = [
                found[name][index] if name in found else None for name in ('triton', 'mamba_ssm')
            ]
            cells += [show_ms(x) for x in pair]
            cells.append('not measured' if None in pair else f'{pair[1] / pair[0]:.2f}')
        cells += [
            show_ms(found[name][2] if name in found else None) for name in ('triton', 'mamba_ssm')
        ]
        print('| ' + ' | '.join(cells) + ' |', flush=True)


def measure(
    backend: str, shape: tuple[int, ...], repeats: int, device: str
) -> tuple[float, float, float]:
    """Forward ms, forward and backward ms, and peak MB, in the layout that suits the backend."""
    batch, length, dim, state = shape
    last = backend != 'mamba_ssm'

    def normal(*sizes: int) -> torch.Tensor:
        x = torch.randn(*sizes, device=device, dtype=torch.bfloat16)
        return x if last else x.transpose(1, 2).contiguous()

    inputs = dict(
        u=normal(batch, length, dim),
        delta=normal(batch, length, dim),
        A=-torch.rand(dim, state, device=device) - 0.1,
        B=normal(batch, length, state),
        C=normal(batch, length, state),
        D=torch.randn(dim, device=device),
        delta_bias=torch.randn(dim, device=device),
    )
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    upstream = torch.randn_like(inputs['u'])

    def forward() -> torch.Tensor:
        return selective_scan(**leaves, delta_softplus=True, channels_last=last, backend=backend)

    def both() -> None:
        torch.autograd.grad(forward(), list(leaves.values()), upstream)

    with torch.no_grad():
        forward_ms = gpu_median_ms(forward, repeats)
    both_ms = gpu_median_ms(both, repeats)
    return forward_ms, both_ms, peak_memory(both, device)


if __name__ == '__main__':
    main()

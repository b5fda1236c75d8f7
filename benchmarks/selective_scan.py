"""Times the selective scan on this machine's CPU and prints Markdown: see docs/benchmarks.

Run it on a machine that does nothing else, with green tests:

    python benchmarks/selective_scan.py --threads 2
"""

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import processor

from mmvmamba.ops.selective_scan import available_backends, selective_scan

# batch, length, dim, state: what the backbones run, and long sequences.
SHAPES = [
    (8, 196, 384, 16),  # PlainMamba-L1, Vim-tiny with 14 x 14 tokens
    (1, 4096, 384, 16),  # the same at 1024 px
    (8, 197, 384, 16),  # Vim with its class token
    (64, 49, 320, 8),  # MambaVision-B, windows of the last stages
    (8, 196, 768, 16),  # PlainMamba-L2
    (1, 4200, 768, 16),  # a detector's image, 800 x 1333
    (4, 1024, 192, 1),  # a state of one
    (1, 16384, 192, 16),
]
FOUR_DIRECTIONS = (8, 196, 384, 16)
BESIDE_C = [(4, 196, 384, 16), (4, 1024, 192, 1), (8, 49, 160, 8)]
TRAINING = [(2, 196, 384, 16), (4, 1024, 192, 1), (8, 49, 160, 8)]


def main() -> None:
    args = parse_args()
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    backends = available_backends('cpu')
    print(
        f'{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, '
        f'backends {", ".join(backends)}; '
        f'medians of {args.repeats} runs, {"processor" if args.cpu_time else "wall"} time.\n'
    )
    if args.c is not None:
        beside_c(args.repeats, args.cpu_time, args.c)
        return
    if args.training:
        training(args.repeats, args.cpu_time)
        return
    single_direction(args.repeats, args.cpu_time)
    four_directions(args.repeats, args.cpu_time)
    if args.model:
        plain_mamba(args.repeats)


def beside_c(repeats: int, cpu_time: bool, flags: str) -> None:
    """The forward pass on one thread in turns with the same scan as a plain loop in C."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, 'scan_loop.so')
        source = Path(__file__).with_name('scan_loop.c')
        command = ['cc', '-O3', *flags.split(), '-shared', '-fPIC', source, '-o', library]
        subprocess.run(command, check=True)
        loop = ctypes.CDLL(str(library)).scan
        print(f'C: cc -O3 {flags}; ns per element, one thread; best in brackets.\n')
        print('| batch, length, dim, state | ours | C | ours / C |\n|---|---|---|---|')
        for shape in BESIDE_C:
            inputs, _ = make_inputs(*shape)
            A = (inputs['A'] * 1.4426950408889634).t().contiguous()

            def run_c(inputs: dict = inputs, A: torch.Tensor = A, shape: tuple = shape):
                out = torch.empty_like(inputs['u'])
                arrays = {**inputs, 'A': A, 'out': out}
                names = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias', 'out')
                pointers = [ctypes.c_void_p(arrays[name].data_ptr()) for name in names]
                loop(*map(ctypes.c_long, shape), *pointers)
                return out

            def run_ours(inputs: dict = inputs):
                return selective_scan(
                    **inputs, delta_softplus=True, channels_last=True, backend='numba'
                )

            torch.testing.assert_close(run_c(), run_ours(), rtol=1e-4, atol=1e-4)
            times = timed([run_ours, run_c], [repeats, repeats], cpu_time)
            scale = 1e6 / (shape[0] * shape[1] * shape[2] * shape[3])
            cells = [f'{middle * scale:.3f} ({best * scale:.3f})' for middle, best in times]
            ratio = times[0][0] / times[1][0]
            print(f'| {", ".join(map(str, shape))} | {" | ".join(cells)} | {ratio:.2f} |')


def training(repeats: int, cpu_time: bool) -> None:
    """Forward and backward on one thread, with the gradients of all arguments."""
    torch.set_num_threads(1)
    print('ns per element, one thread; best in brackets.\n')
    print('| batch, length, dim, state | forward + backward | forward, nothing kept |')
    print('|---|---|---|')
    for shape in TRAINING:
        inputs, upstream = make_inputs(*shape)
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}

        def forward(inputs: dict = inputs) -> torch.Tensor:
            return selective_scan(
                **inputs, delta_softplus=True, channels_last=True, backend='numba'
            )

        def both(
            leaves: dict = leaves, upstream: torch.Tensor = upstream, forward: Callable = forward
        ):
            with torch.enable_grad():
                return torch.autograd.grad(forward(leaves), list(leaves.values()), upstream)

        scale = 1e6 / (shape[0] * shape[1] * shape[2] * shape[3])
        cells = [
            f'{middle * scale:.3f} ({best * scale:.3f})'
            for middle, best in timed([both, forward], [repeats, repeats], cpu_time)
        ]
        print(f'| {", ".join(map(str, shape))} | {" | ".join(cells)} |', flush=True)


def single_direction(repeats: int, cpu_time: bool) -> None:
    print(
        '| batch, length, dim, state | forward ms (best) | ns per element (best) '
        '| channels-first ms | backward ms (best) | backward / forward | torch loop ms '
        '| torch loop / forward |\n'
        '|---|---|---|---|---|---|---|---|'
    )
    for shape in SHAPES:
        inputs, upstream = make_inputs(*shape)

        def forward(backend: str, inputs: dict = inputs) -> torch.Tensor:
            return selective_scan(
                **inputs, delta_softplus=True, channels_last=True, backend=backend
            )

        first = {
            name: x.transpose(1, 2).contiguous() if x.ndim == 3 else x for name, x in inputs.items()
        }
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        with torch.enable_grad():
            out = forward('numba', leaves)
        values = list(leaves.values())
        (fast, best), (turned, _), (backward, best_backward), (loop, _) = timed(
            [
                lambda forward=forward: forward('numba'),
                lambda first=first: selective_scan(**first, delta_softplus=True, backend='numba'),
                lambda out=out, values=values, upstream=upstream: torch.autograd.grad(
                    out, values, upstream, retain_graph=True
                ),
                lambda inputs=inputs: loop_over_tokens(**inputs),
            ],
            [repeats, repeats, repeats, min(repeats, 5)],
            cpu_time,
        )
        scale = 1e6 / (shape[0] * shape[1] * shape[2] * shape[3])
        print(
            f'| {", ".join(map(str, shape))} | {fast:.2f} ({best:.2f}) '
            f'| {fast * scale:.3f} ({best * scale:.3f}) | {turned:.2f} '
            f'| {backward:.2f} ({best_backward:.2f}) | {backward / fast:.2f} '
            f'| {loop:.0f} | {loop / fast:.0f} |',
            flush=True,
        )


def loop_over_tokens(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    delta_bias: torch.Tensor,
) -> torch.Tensor:
    """What a model without a kernel does: all decays and entries first, then token by token."""
    delta = torch.nn.functional.softplus(delta + delta_bias)
    decays = torch.exp(delta[..., None] * A)
    entries = (delta * u)[..., None] * B[:, :, None]
    state = torch.zeros_like(entries[:, 0])
    outputs = []
    for t in range(u.shape[1]):
        state = decays[:, t] * state + entries[:, t]
        outputs.append((state * C[:, t, None]).sum(-1))
    return torch.stack(outputs, dim=1) + D * u


def four_directions(repeats: int, cpu_time: bool) -> None:
    """PlainMamba's case: all but B shared, and only u follows the order."""
    batch, length, dim, state = FOUR_DIRECTIONS
    inputs, _ = make_inputs(batch, length, dim, state)
    inputs['B'] = torch.randn(batch, 4, length, state)
    orders = torch.stack([torch.randperm(length) for _ in range(4)])
    inverse = orders.argsort(1)

    def one_call() -> torch.Tensor:
        return selective_scan(
            **inputs, delta_softplus=True, channels_last=True, orders=orders, order_all=False
        )

    def four_calls() -> torch.Tensor:
        total = 0
        for k in range(4):
            own = {**inputs, 'u': inputs['u'][:, orders[k]], 'B': inputs['B'][:, k]}
            y = selective_scan(**own, delta_softplus=True, channels_last=True)
            total = total + y[:, inverse[k]]
        return total

    torch.testing.assert_close(one_call(), four_calls(), rtol=1e-4, atol=1e-3)
    (one, _), (four, _) = timed([one_call, four_calls], [repeats, repeats], cpu_time)
    print(
        f'\nFour directions at {FOUR_DIRECTIONS}: one call {one:.2f} ms, four calls with permuted '
        f'copies {four:.2f} ms, {four / one:.2f} times as long.'
    )


def plain_mamba(repeats: int) -> None:
    """The share of the scans in PlainMamba-L1, 224 px, batch 8."""
    from mmvmamba.models.backbones import PlainMamba
    from mmvmamba.ops.selective_scan import scan_backend

    model = PlainMamba(arch='L1').eval()
    images = torch.randn(8, 3, 224, 224)
    print('\n| PlainMamba-L1, 224 px, batch 8 | total ms | scans ms | share |\n|---|---|---|---|')
    for backend in ('torch', 'numba'):
        with torch.no_grad(), scan_backend(backend):
            shares = []
            model(images)
            for _ in range(2 if backend == 'torch' else repeats):
                with torch.profiler.profile() as profiler:
                    start = time.perf_counter()
                    model(images)
                    total = 1e3 * (time.perf_counter() - start)
                scans = sum(
                    event.cpu_time_total
                    for event in profiler.key_averages()
                    if event.key in ('mmvmamba::selective_scan', 'mmvmamba::gated_scan')
                )
                shares.append((total, scans / 1e3))
        total, scans = sorted(shares)[len(shares) // 2]
        print(f'| scans by `{backend}` | {total:.0f} | {scans:.0f} | {scans / total:.0%} |')


def make_inputs(
    batch: int, length: int, dim: int, state: int
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    inputs = dict(
        u=torch.randn(batch, length, dim),
        delta=torch.randn(batch, length, dim),
        A=-torch.rand(dim, state) - 0.1,
        B=torch.randn(batch, length, state),
        C=torch.randn(batch, length, state),
        D=torch.randn(dim),
        delta_bias=torch.randn(dim) - 3,
    )
    return inputs, torch.randn(batch, length, dim)


def timed(
    functions: list[Callable[[], object]], repeats: list[int], cpu_time: bool
) -> list[tuple[float, float]]:
    """Median and least milliseconds, run in turns so that what disturbs one disturbs all."""
    clock = time.process_time if cpu_time else time.perf_counter
    times = [[] for _ in functions]
    with torch.no_grad():
        for function in functions:
            function()
        for turn in range(max(repeats)):
            for function, results, count in zip(functions, times, repeats, strict=True):
                if turn < count:
                    start = clock()
                    function()
                    results.append(1e3 * (clock() - start))
    return [(statistics.median(results), min(results)) for results in times]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--threads', type=int, help="threads, default: torch's")
    parser.add_argument('--repeats', type=int, default=15, help='runs of which to take the median')
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help='count processor time instead: for one thread on a machine that does other work',
    )
    parser.add_argument(
        '--c',
        metavar='FLAGS',
        nargs='?',
        const='-march=native -fno-trapping-math',
        help='compare with a loop in C compiled with these flags instead (default: %(const)s)',
    )
    parser.add_argument(
        '--training', action='store_true', help='time forward and backward together instead'
    )
    parser.add_argument('--model', action='store_true', help='profile PlainMamba-L1 too')
    return parser.parse_args()


if __name__ == '__main__':
    main()

"""Times whole models on a GPU by the protocols of the papers, a row as soon as it is known.

python benchmarks/gpu_models.py throughput     # batch 128, AMP, channels last, as a graph or not
python benchmarks/gpu_models.py resolutions    # Vim beside DeiT, 224 to 1248 pixels
python benchmarks/gpu_models.py training       # a training step of each family
python benchmarks/gpu_models.py latency        # one image

Several of them can share a process, which may take long to start. With --toy, on any device at
sizes that take seconds, to see that all of it runs.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from common import machine, measure, median
from torch import Tensor, nn

from mmvmamba.apis import get_model, graphed

__all__ = ['PROTOCOLS', 'SCANNING', 'main']

try:
    import timm
except ImportError:
    timm = None
try:
    from triton.errors import TritonError
except ImportError:
    TritonError = RuntimeError


class Case(NamedTuple):
    """A model at a batch size and a side of its images; timm's where ``by_timm``."""

    name: str
    batch: int
    side: int = 224
    as_graph: bool = False
    trains: bool = False
    by_timm: bool = False


FAMILIES = ('mambavision_t', 'mambaout_tiny', 'vim_tiny', 'plain_mamba_l1', 'vmamba_tiny_s1l8')
VISION = ('mambavision_t', 'mambavision_s', 'mambavision_b', 'mambavision_l', 'mambavision_l2')
# All of ours that have kernels of their own.
SCANNING = tuple(dict.fromkeys((*VISION, *FAMILIES)))
SIDES = (224, 512, 800, 1024, 1248)
# Images per second on an A100 at batch 128, as NVIDIA publishes them.
PUBLISHED = {
    'mambavision_t': 6298, 'mambavision_s': 4700, 'mambavision_b': 3670, 'mambavision_l': 2190,
    'mambavision_l2': 1021,
}  # fmt: skip


def throughput() -> Iterator[Case]:
    for name in (*VISION, *FAMILIES[1:]):
        for as_graph in (False, True):
            yield Case(name, 128, as_graph=as_graph)
    for as_graph in (False, True):
        yield Case('mambaout_tiny', 128, as_graph=as_graph, by_timm=True)


def resolutions() -> Iterator[Case]:
    for side in SIDES:
        batch = max(1, 64 * 224**2 // side**2)
        # As graphs, or a slow host is what is measured.
        yield Case('vim_tiny', batch, side, as_graph=True)
        yield Case('deit_tiny_patch16_224', batch, side, as_graph=True, by_timm=True)


def training() -> Iterator[Case]:
    for name in FAMILIES:
        yield Case(name, 64, trains=True)
    yield Case('mambaout_tiny', 64, trains=True, by_timm=True)


def latency() -> Iterator[Case]:
    for name in FAMILIES:
        for as_graph in (False, True):
            yield Case(name, 1, as_graph=as_graph)


PROTOCOLS: dict[str, Callable[[], Iterator[Case]]] = {
    'throughput': throughput, 'resolutions': resolutions, 'training': training, 'latency': latency,
}  # fmt: skip


def build(case: Case, device: torch.device) -> nn.Module:
    if case.by_timm:
        sized = {'img_size': case.side} if case.name.startswith('deit') else {}
        model = timm.create_model(case.name, **sized)
    else:
        model = get_model(case.name)
    return model.to(device, memory_format=torch.channels_last).train(case.trains)


def run_of(case: Case, device: torch.device) -> Callable[[], object]:
    """What is measured: a forward pass, that of a graphed model, or a training step."""
    model = build(case, device)
    images = torch.randn(case.batch, 3, case.side, case.side, device=device)
    images = images.to(memory_format=torch.channels_last)
    # On a trial without a GPU, there is nothing to capture.
    called = graphed(model) if case.as_graph and images.is_cuda else model

    def forward() -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            return called(images)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(images).float().square().mean()
        loss.backward()
        model.zero_grad(set_to_none=True)

    return step if case.trains else forward


def row_of(case: Case, device: torch.device, seconds: float) -> list[str]:
    run = run_of(case, device)
    for _ in range(3 if device.type == 'cuda' else 1):
        run()
    is_gpu = device.type == 'cuda'
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = [measure(run, device)]
    while sum(times) < seconds:
        times.append(measure(run, device))
    memory = f'{torch.cuda.max_memory_allocated() / 2**20:.0f}' if is_gpu else ''
    kind = 'training step' if case.trains else 'graph' if case.as_graph else 'forward'
    name = f'{case.name} (timm)' if case.by_timm else case.name
    published = PUBLISHED.get(case.name, '') if case.batch == 128 else ''
    numbers = (f'{case.batch / median(times):.5g}', f'{median(times) * 1e3:.4g}', memory)
    return [name, kind, str(case.side), str(case.batch), *numbers, str(published)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('protocols', nargs='+', choices=PROTOCOLS)
    parser.add_argument('--toy', action='store_true', help='small batches and images, any device')
    parser.add_argument('--seconds', type=float, default=2.0, help='for each row')
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.type == 'cpu' and not args.toy:
        print('not measured: torch finds no CUDA or ROCm device')
        return
    print(f'{machine(device)}, torch {torch.__version__}, bfloat16 autocast, channels last.\n')
    columns = ('model', 'what', 'px', 'batch', 'images/s', 'ms', 'peak MiB', 'A100, published')
    print('| ' + ' | '.join(columns) + ' |\n' + '| --- ' * len(columns) + '|', flush=True)
    for case in (case for protocol in args.protocols for case in PROTOCOLS[protocol]()):
        if args.toy and case.name in (*VISION[1:], *FAMILIES[1:3]):
            continue
        if args.toy:
            case = case._replace(batch=1, side=64)
        if case.by_timm and timm is None:
            cells = [f'{case.name} (timm)', 'not measured: timm is not installed']
        else:
            with torch.enable_grad() if case.trains else nullcontext():
                cells = _row_or_failure(case, device, 0.0 if args.toy else args.seconds)
        print('| ' + ' | '.join(cells) + ' |', flush=True)


def _row_or_failure(case: Case, device: torch.device, seconds: float) -> list[str]:
    try:
        return row_of(case, device, seconds)
    except (RuntimeError, ValueError, TritonError) as error:
        # One model that does not run must not cost the others their rows.
        lines = str(error).splitlines() or [type(error).__name__]
        return [case.name, f'not measured: {lines[0][:120]}']


if __name__ == '__main__':
    main()

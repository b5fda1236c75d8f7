"""Images per second of every classification model, beside what a user would take instead.

    python benchmarks/backbones.py                                   # all models, batch 1
    python benchmarks/backbones.py --models 'mambaout_*' --batch 1 16
    python benchmarks/backbones.py --device cuda --dtype float16 --batch 128 --channels-last

Each model runs at its own image size, from the image to the logits, in evaluation mode. timm's
model of the same name, where there is one, runs in turns with ours: run by run, so that whatever
else the machine does meets both alike. DeiT, ConvNeXt and Swin of like size stand at the end for
comparison. Times are medians; the spread is the distance of the quartiles relative to the median.
Memory is the peak of what one run allocates, besides weights and images.
"""

import argparse
import fnmatch
import platform
import statistics
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import mmvmamba
from mmvmamba.apis import get_model, list_models
from mmvmamba.apis.model_table import find_model

try:
    import timm
except ImportError:
    timm = None

TORCHVISION = ('convnext_tiny', 'convnext_small', 'swin_t', 'swin_s')
TIMM = ('deit_tiny_patch16_224', 'deit_small_patch16_224', 'deit_base_patch16_224')
COLUMNS = ('model', 'params M', 'px', 'batch', 'images/s', 'ms', 'spread', 'MiB')


class Meter:
    """Times runs of one model and notes its peak memory."""

    def __init__(self, model: nn.Module, images: Tensor, autocast: torch.dtype | None) -> None:
        self.model, self.images, self.autocast = model, images, autocast
        self.device = images.device
        self.times: list[float] = []

    def run(self) -> float:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None),
        ):
            self._synchronize()
            start = time.perf_counter()
            self.model(self.images)
            self._synchronize()
        return time.perf_counter() - start

    def peak_memory(self) -> float:
        """MiB that one run takes at most, besides the weights and the images."""
        if self.device.type == 'cuda':
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.run()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorder:
            self.run()
        events = recorder.profiler.kineto_results.events()
        changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]']
        live = accumulate(size for _, size in sorted(changes))
        return max(live) / 2**20

    def row(self, name: str, memory: float) -> dict[str, str]:
        batch, side = self.images.shape[0], self.images.shape[-1]
        median = statistics.median(self.times)
        lower, _, upper = statistics.quantiles(self.times, n=4)
        return {
            'model': name,
            'params M': f'{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f}',
            'px': str(side),
            'batch': str(batch),
            'images/s': f'{batch / median:.4g}',
            'ms': f'{median * 1e3:.4g}',
            'spread': f'{(upper - lower) / median:.0%}',
            'MiB': f'{memory:.0f}',
        }

    def _synchronize(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()


def measure(meters: list[Meter], seconds: float) -> list[float]:
    """Runs the models in turns for about ``seconds`` in all, at least 5 times each."""
    for meter in meters:
        meter.run()
    memory = [meter.peak_memory() for meter in meters]
    end = time.perf_counter() + seconds
    while len(meters[0].times) < 5 or time.perf_counter() < end:
        for meter in meters:
            meter.times.append(meter.run())
    return memory


def prepare(build: Callable[[], nn.Module], args: argparse.Namespace) -> nn.Module:
    model = build().eval().to(args.device)
    return model.to(memory_format=torch.channels_last) if args.channels_last else model


def make_images(batch: int, side: int, args: argparse.Namespace) -> Tensor:
    images = torch.randn(batch, 3, side, side, device=args.device)
    return images.to(memory_format=torch.channels_last) if args.channels_last else images


def rows_of(name: str, args: argparse.Namespace) -> list[dict[str, str]]:
    """Our model, and timm's of the same name after it with the ratio of the speeds."""
    models = {name: prepare(lambda: get_model(name), args)}
    side = find_model(name).img_size
    if timm is not None and timm.is_model(name):
        models[f'{name} (timm)'] = prepare(lambda: timm.create_model(name), args)
    rows = []
    for batch in args.batch:
        images = make_images(batch, side, args)
        meters = [Meter(model, images, args.autocast) for model in models.values()]
        memory = measure(meters, args.seconds)
        rows += [meter.row(*labels) for meter, *labels in zip(meters, models, memory, strict=True)]
        if len(meters) == 2:
            ours, theirs = (statistics.median(meter.times) for meter in meters)
            rows[-2]['ours : theirs'] = f'{theirs / ours:.2f}x'
    return rows


def context_rows(args: argparse.Namespace) -> list[dict[str, str]]:
    builders = {
        f'{name} (torchvision)': lambda name=name: torchvision.models.get_model(name)
        for name in TORCHVISION
    }
    if timm is not None:
        builders.update(
            {f'{name} (timm)': lambda name=name: timm.create_model(name) for name in TIMM}
        )
    rows = []
    for name, build in builders.items():
        model = prepare(build, args)
        for batch in args.batch:
            meter = Meter(model, make_images(batch, 224, args), args.autocast)
            rows.append(meter.row(name, *measure([meter], args.seconds)))
            print(rows[-1], file=sys.stderr)
    return rows


def device_name(args: argparse.Namespace) -> str:
    if args.device == 'cuda':
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    name = names[0] if names else platform.processor()
    return f'{name} ({platform.machine()}), {torch.get_num_threads()} threads'


def markdown(rows: list[dict[str, str]], args: argparse.Namespace) -> str:
    columns = [*COLUMNS, 'ours : theirs']
    table = [' | '.join(columns), ' | '.join('---' for _ in columns)]
    table += [' | '.join(row.get(column, '') for column in columns) for row in rows]
    settings = f'{args.dtype}{", channels last" if args.channels_last else ""}'
    versions = f'mmvmamba {mmvmamba.__version__}, torch {torch.__version__}'
    if timm is not None:
        versions += f', timm {timm.__version__}'
    return '\n'.join(
        [
            f'{device_name(args)}; {settings}; {versions}.',
            '',
            '```',
            'python benchmarks/backbones.py ' + ' '.join(map(quote, sys.argv[1:])),
            '```',
            '',
            *(f'| {line} |' for line in table),
            '',
        ]
    )


def quote(argument: str) -> str:
    return f"'{argument}'" if '*' in argument else argument


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--models', nargs='+', default=['*'], help='names or patterns')
    parser.add_argument('--batch', nargs='+', type=int, default=[1])
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--dtype', default='float32', choices=['float32', 'float16', 'bfloat16'])
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--threads', type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument('--seconds', type=float, default=4.0, help='for each model and batch')
    parser.add_argument('--without-context', action='store_true', help='no other architectures')
    parser.add_argument('--out', type=Path, help='Markdown file; printed if not given')
    args = parser.parse_args()
    args.autocast = None if args.dtype == 'float32' else getattr(torch, args.dtype)
    return args


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    known = list_models(task='classification')
    names = [name for name in known if any(fnmatch.fnmatch(name, p) for p in args.models)]
    if not names:
        sys.exit(f'--models must match some of {known}, got {args.models}')
    rows = []
    for name in names:
        rows += rows_of(name, args)
        print(rows[-1], file=sys.stderr)
    if not args.without_context:
        rows += context_rows(args)
    text = markdown(rows, args)
    if args.out:
        args.out.write_text(text)
    else:
        print(text)


if __name__ == '__main__':
    main()

"""Images per second of every classification model, beside what a user would take instead.

    python benchmarks/backbones.py                                   # all models, batch 1
    python benchmarks/backbones.py --models 'mambaout_*' --batch 1 16
    python benchmarks/backbones.py --device cuda --dtype float16 --batch 128 --channels-last

Each model runs at its own image size, from the image to the logits, in evaluation mode. timm's
model of the same name, where there is one, runs in turns with ours: run by run, so that whatever
else the machine does meets both alike. So does the authors' own code on a GPU, where it can be
imported: the package ``mambavision``, and Vim's ``models_mamba`` from a checkout on PYTHONPATH.
(PlainMamba's needs mmcv 1, which does not go with the PyTorch that this package needs.) DeiT,
ConvNeXt and Swin of like size stand at the end for comparison. Times are medians; the spread is the
distance of the quartiles relative to the median. Memory is the peak of what one run allocates,
besides weights and images, with ``--training`` that of a forward and backward pass as well.
``--optimize`` adds each model made ready by ``optimize_for_inference``, in turns with the others.
"""

import argparse
import fnmatch
import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torchvision
from common import (
    add_run_arguments,
    machine,
    markdown_table,
    median,
    peak_memory,
    set_threads,
    show_spread,
    take_turns,
    write_report,
)
from torch import Tensor, nn

import mmvmamba
from mmvmamba.apis import get_model, list_models, optimize_for_inference
from mmvmamba.apis.model_table import find_model

try:
    import timm
except ImportError:
    timm = None

TORCHVISION = ('convnext_tiny', 'convnext_small', 'convnext_base', 'swin_t', 'swin_s', 'swin_b')
TIMM = ('deit_tiny_patch16_224', 'deit_small_patch16_224', 'deit_base_patch16_224')
# Module of the authors' code by family.
OFFICIAL = {'mambavision': 'mambavision', 'vim': 'models_mamba'}
COLUMNS = ('model', 'params M', 'px', 'batch', 'images/s', 'ms', 'spread', 'MiB')
TRAINING = 'MiB, training'
RATIO = 'ours : theirs'
READY = 'ready : theirs, plain'


def run_of(model: nn.Module, images: Tensor, args: argparse.Namespace) -> Callable[[], Tensor]:
    """What is measured: one pass in evaluation mode."""

    def run() -> Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(args.device, args.autocast, enabled=args.autocast is not None),
        ):
            return model(images)

    return run


def row_of(
    name: str, model: nn.Module, images: Tensor, times: list[float], memory: float
) -> dict[str, str]:
    batch, side = images.shape[0], images.shape[-1]
    return {
        'model': name,
        'params M': f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}',
        'px': str(side),
        'batch': str(batch),
        'images/s': f'{batch / median(times):.4g}',
        'ms': f'{median(times) * 1e3:.4g}',
        'spread': show_spread(times),
        'MiB': f'{memory:.0f}',
    }


def compare(
    models: dict[str, nn.Module], images: Tensor, args: argparse.Namespace
) -> tuple[list[dict[str, str]], list[list[float]]]:
    """Rows of models that run in turns for about ``--seconds`` in all, and their times."""
    runs = [run_of(model, images, args) for model in models.values()]
    for run in runs:
        run()
    memory = [peak_memory(run, args.device) for run in runs]
    # Before they are run in turns: what a training step allocates is not there meanwhile.
    training = [training_memory(model, images, args) for model in models.values()]
    times = take_turns(runs, args.device, least=args.least, seconds=args.seconds, warmups=0)
    labels = zip(models, models.values(), times, memory, strict=True)
    rows = [row_of(name, model, images, *found) for name, model, *found in labels]
    for row, found in zip(rows, training, strict=True):
        row[TRAINING] = found
    return rows, times


def training_memory(model: nn.Module, images: Tensor, args: argparse.Namespace) -> str:
    """MiB of a forward and backward pass, gradients of weights included; '' if not asked for."""
    if not args.training or not any(p.requires_grad for p in model.parameters()):
        return ''
    model.train()

    def step() -> None:
        with torch.autocast(args.device, args.autocast, enabled=args.autocast is not None):
            model(images).float().mean().backward()

    memory = peak_memory(step, args.device)
    model.zero_grad()
    model.eval()
    return f'{memory:.0f}'


def prepare(build: Callable[[], nn.Module], args: argparse.Namespace) -> nn.Module:
    model = build().eval().to(args.device)
    return model.to(memory_format=torch.channels_last) if args.channels_last else model


def make_images(batch: int, side: int, args: argparse.Namespace) -> Tensor:
    images = torch.randn(batch, 3, side, side, device=args.device)
    return images.to(memory_format=torch.channels_last) if args.channels_last else images


def official_model(name: str) -> nn.Module | None:
    """The authors' own model, None where their code is not installed."""
    info = find_model(name)
    module = OFFICIAL.get(info.family)
    if module is None or find_spec(module) is None:
        return None
    package, alias = importlib.import_module(module), info.aliases[0]
    return (
        package.create_model(alias) if info.family == 'mambavision' else getattr(package, alias)()
    )


def rows_of(name: str, args: argparse.Namespace) -> list[dict[str, str]]:
    """Our model, and timm's or the authors' after it with the ratio of the speeds."""
    models = {name: prepare(lambda: get_model(name), args)}
    info = find_model(name)
    side = info.preprocessing.img_size
    theirs = [n for n in (name, *info.aliases) if timm is not None and timm.is_model(n)]
    if theirs:
        models[f'{theirs[0]} (timm)'] = prepare(lambda: timm.create_model(theirs[0]), args)
    if args.optimize:
        models[f'{name}, ready'] = optimize_for_inference(models[name])
    official = official_model(name) if args.device == 'cuda' else None
    if official is not None:
        models[f'{name} (official)'] = prepare(lambda: official, args)
    rows = []
    for batch in args.batch:
        found, times = compare(models, make_images(batch, side, args), args)
        others = [i for i, label in enumerate(models) if label.endswith(')')]
        for other in others[:1]:
            found[0][RATIO] = f'{median(times[other]) / median(times[0]):.2f}x'
        for ready in [i for i, label in enumerate(models) if label.endswith(', ready')]:
            against = [*others[:1], 0]
            found[ready][READY] = ', '.join(
                f'{median(times[i]) / median(times[ready]):.2f}x' for i in against
            )
        rows += found
    if args.device == 'cuda' and official is None and info.family in OFFICIAL:
        rows.append({'model': f'{name} (official)', 'images/s': 'not measured'})
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
            rows += compare({name: model}, make_images(batch, 224, args), args)[0]
            print(rows[-1], file=sys.stderr)
    return rows


def columns(args: argparse.Namespace) -> list[str]:
    return [*COLUMNS, *[TRAINING] * args.training, RATIO, *[READY] * args.optimize]


def facts(args: argparse.Namespace) -> str:
    settings = f'{args.dtype}{", channels last" if args.channels_last else ""}'
    versions = f'mmvmamba {mmvmamba.__version__}, torch {torch.__version__}'
    if timm is not None:
        versions += f', timm {timm.__version__}'
    return f'{machine(args.device)}; {settings}; {versions}.'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--models', nargs='+', default=['*'], help='names or patterns')
    parser.add_argument('--batch', nargs='+', type=int, default=[1])
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--without-context', action='store_true', help='no other architectures')
    parser.add_argument('--optimize', action='store_true', help='add models made ready')
    parser.add_argument('--training', action='store_true', help='add the memory of training')
    parser.add_argument('--least', type=int, default=5, help='runs of each at least')
    add_run_arguments(parser, seconds=4.0)
    args = parser.parse_args()
    args.autocast = None if args.dtype == 'float32' else getattr(torch, args.dtype)
    return args


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
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
    write_report(facts(args), markdown_table(columns(args), rows), args.out)


if __name__ == '__main__':
    main()

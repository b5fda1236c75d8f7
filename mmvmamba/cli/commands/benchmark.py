"""``mmvmamba benchmark``."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mmvmamba.cli.arguments import positive
from mmvmamba.cli.errors import UserError

if TYPE_CHECKING:
    from mmvmamba.apis.timing import Timing, TimingSettings

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'measure speed and memory of models, beside others'
EXAMPLE = """mmvmamba benchmark vim_tiny mambaout_femto --baseline deit_tiny swin_t
  mmvmamba benchmark --preset vim --device cuda --csv vim.csv --plot vim.png"""
# Rows are printed as they are measured, so widths are given.
WIDTHS = (28, 5, 11, 9, 9, 7, 9)
COLUMNS = ('model', 'batch', 'image', 'images/s', 'ms', 'spread', 'MiB')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the models and how they are run."""
    add = parser.add_argument
    add('models', nargs='*', metavar='MODEL', help='names of mmvmamba list, or config files')
    add('--preset', choices=('vim', 'mambavision'), help="the comparison of a paper's figure")
    add('--baseline', nargs='+', default=[], metavar='B', help='deit_tiny, swin_t, convnext_tiny …')
    add('--batch-size', nargs='+', type=positive, metavar='N', help='default: 1')
    add('--shape', nargs=2, type=positive, metavar=('H', 'W'), help="default: a model's own")
    add('--sweep', nargs='+', type=positive, metavar='S', help='sides of square images')
    add('--dtype', choices=('float32', 'float16', 'bfloat16'), help='of autocast')
    add('--device', default='cpu', help='such as cuda (default: cpu)')
    add('--channels-last', action='store_true', default=None, help='lay tensors out so')
    add('--compile', action='store_true', help='compile the models first')
    add('--optimize', action='store_true', help='make the models ready for inference first')
    add('--train', action='store_true', help='time a forward and a backward pass')
    add('--seconds', type=float, metavar='S', help='for each figure at least (default: 2)')
    add('--passes', type=positive, metavar='N', help='for each figure at least (default: 5)')
    add('--csv', metavar='FILE', help='write the table there, too')
    add('--plot', metavar='FILE', help='draw speed and memory, a PNG for one')


def run(args: argparse.Namespace) -> None:
    """Prints a line for each figure as it is there, then writes table and plot."""
    from mmvmamba.apis.benchmark import run_benchmark
    from mmvmamba.cli.benchmark_presets import PRESETS
    from mmvmamba.cli.predictors import check_device

    check_device(args.device)
    if not (args.models or args.baseline or args.preset):
        raise UserError('name a model (mmvmamba list shows all), a --baseline or a --preset')
    if args.shape and args.sweep:
        raise UserError('--shape and --sweep both say how large images are; give one')
    if args.optimize and args.train:
        raise UserError('--optimize makes models ready for inference alone; leave out --train')
    preset = PRESETS.get(args.preset)
    models = args.models or (preset.models if preset else ())
    baselines = args.baseline or (preset.baselines if preset else ())
    shapes = [(side, side) for side in args.sweep or (preset.sides if preset else ())]
    timings = run_benchmark(
        models,
        baselines,
        [tuple(args.shape)] if args.shape else shapes,
        _settings(args, preset.settings if preset else None),
        args.batch_size or (),
        only_features=bool(preset and preset.only_features),
        optimize=args.optimize,
    )
    found: list[Timing] = []
    for timing in timings:
        if not found:
            _print_row(COLUMNS)
        found.append(timing)
        _print_row(_row(timing))
    _write(found, args.csv, args.plot)


def _print_row(row: Sequence[str]) -> None:
    cells = (f'{cell:<{width}}' for cell, width in zip(row, WIDTHS, strict=True))
    print('  '.join(cells).rstrip(), flush=True)


def _settings(args: argparse.Namespace, preset: 'TimingSettings | None') -> 'TimingSettings':
    from dataclasses import replace

    from mmvmamba.apis.timing import TimingSettings

    asked = dict(
        device=args.device,
        dtype=args.dtype,
        channels_last=args.channels_last,
        compiled=args.compile,
        train=args.train,
        seconds=args.seconds,
        least=args.passes,
    )
    base = preset or TimingSettings()
    return replace(base, **{key: value for key, value in asked.items() if value is not None})


def _row(timing: 'Timing') -> tuple[str, ...]:
    from mmvmamba.apis.timing import median, show_spread

    height, width = timing.settings.shape
    case = (timing.name, str(timing.settings.batch_size), f'{height} x {width}')
    if not timing.times:
        return (*case, 'out of memory', '', '', '')
    return (
        *case,
        f'{timing.images_per_second:.4g}',
        f'{1e3 * median(timing.times):.4g}',
        show_spread(timing.times),
        f'{timing.memory:.0f}',
    )


def _write(timings: 'Sequence[Timing]', table: str | None, plot: str | None) -> None:
    import csv

    from mmvmamba.visualization.charts import draw_speed

    if table:
        with open(table, 'w', newline='') as file:
            csv.writer(file).writerows([COLUMNS, *map(_row, timings)])
    if plot:
        draw_speed(
            _series(timings, lambda timing: timing.images_per_second),
            _series(timings, lambda timing: timing.memory),
            plot,
            'side of the image, pixels',
        )


def _series(
    timings: 'Sequence[Timing]', value: Callable[['Timing'], float]
) -> dict[str, tuple[list, list]]:
    """Values over the sides of images, by model and batch size; what ran out of memory is left."""
    batches = {timing.settings.batch_size for timing in timings}
    series: dict[str, tuple[list, list]] = {}
    for timing in timings:
        if timing.times:
            batch = f', batch {timing.settings.batch_size}' if len(batches) > 1 else ''
            xs, ys = series.setdefault(timing.name + batch, ([], []))
            xs.append(max(timing.settings.shape))
            ys.append(value(timing))
    return series

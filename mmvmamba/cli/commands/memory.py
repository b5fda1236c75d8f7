"""``mmvmamba memory``."""

import argparse
from typing import TYPE_CHECKING

from mmvmamba.cli.arguments import add_cfg_options, positive
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.tables import format_columns

if TYPE_CHECKING:
    from mmvmamba.apis.memory import MemoryForecast

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'forecast the memory of a training, before it is queued'
EXAMPLE = """mmvmamba memory configs/cls/vim_tiny_in1k.py --batch-size 128 --amp
  mmvmamba memory configs/det/l1_maskrcnn_1x.py --strategy fsdp --gpus 8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the config and how it would be trained."""
    parser.add_argument('config', help='config file, or the name of its model')
    parser.add_argument(
        '--batch-size', type=positive, metavar='N', help="images of a GPU (default: the config's)"
    )
    parser.add_argument('--amp', action='store_true', help='in half precision')
    parser.add_argument(
        '--strategy',
        choices=['ddp', 'fsdp', 'fsdp_checkpointing'],
        help="how the model is spread, as configs/_base_/strategies/ (default: the config's, or "
        'ddp)',
    )
    parser.add_argument(
        '--gpus', type=positive, default=1, metavar='N', help='processes in all (default: 1)'
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help='of the images (default: the largest of the training data)',
    )
    add_cfg_options(parser, 'model.backbone.with_cp=True')


def run(args: argparse.Namespace) -> None:
    """Prints what takes how much."""
    from mmvmamba.apis.memory import forecast_memory
    from mmvmamba.cli.configs import load_config, task_of

    cfg = load_config(args.config, args.cfg_options)
    task_of(cfg)
    if not cfg.get('train_dataloader') or not cfg.get('optim_wrapper'):
        raise UserError(f'{args.config} has no train_dataloader or optim_wrapper: nothing to train')
    shape = tuple(args.shape) if args.shape else None
    forecast = forecast_memory(cfg, args.batch_size, args.amp, args.strategy, args.gpus, shape)
    print(_table(args.config, forecast, args.amp))


def _table(config: str, forecast: 'MemoryForecast', amp: bool) -> str:
    height, width = forecast.shape
    precision = 'half precision' if amp else 'float32'
    processes = f'{forecast.gpus} GPUs by {forecast.strategy}' if forecast.gpus > 1 else '1 GPU'
    head = (
        f'{config}: {forecast.parameters:,} parameters\n'
        f'{forecast.batch_size} images of {height} x {width} on each of {processes}, {precision}'
    )
    rows = [('on each, MiB', 'at most', 'at the peak')]
    for kind, size in forecast.largest.items():
        rows.append((kind, _mebibytes(size), _mebibytes(forecast.at_peak[kind])))
    rows.append(('in all', '', _mebibytes(forecast.peak)))
    left_out = 'not counted: Python and libraries, a GPU context, workers, gaps of the allocator'
    return f'{head}\n\n{format_columns(rows)}\n\n{left_out}'


def _mebibytes(size: int) -> str:
    return f'{size / 2**20:,.1f}'

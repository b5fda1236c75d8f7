"""Latency and memory of segmentors, split into backbone and head, and of batched windows.

    python benchmarks/segmentors.py                                       # all families, CPU
    python benchmarks/segmentors.py --models 'vim_*' --sizes 512x2048 --modes slide
    python benchmarks/segmentors.py --device cuda --dtype float16

Each model of configs/seg runs on one image from pixels to the label map, with random weights. In
slide mode (windows of 512 x 512, 341 apart) mmseg's own loop, a window at a time, runs in turns
with ours, and the script stops if their results differ. Times are medians; memory is the peak of
what one run allocates besides weights and image.
"""

import argparse
import fnmatch
import sys
from collections.abc import Callable
from functools import partial

import torch
from common import (
    PartTimes,
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
from mmvmamba.apis import get_model, list_models
from mmvmamba.models.segmentors import EncoderDecoder
from mmvmamba.testing import assert_close

MODELS = (
    'l1_upernet',
    'mambaout_femto_segformer_160k',
    'mambaout_t_upernet_160k',
    'mambavision_t_upernet_160k',
    'vim_t_upernet_60k',
)
COLUMNS = ('model', 'size', 'mode', 'ms', 'spread', 'backbone', 'head', 'rest', 'MiB',
           'mmseg ms', 'mmseg MiB', 'ours : mmseg')  # fmt: skip
PART_RUNS = 2
WINDOWS = dict(crop_size=(512, 512), stride=(341, 341))


def prepare(name: str, mode: str, args: argparse.Namespace) -> nn.Module:
    model = get_model(name).eval().to(args.device)
    model.test_cfg.update(mode=mode, **WINDOWS)
    if args.window_batch:
        model.test_cfg.window_batch = args.window_batch
    return model


def inference(infer: Callable[[Tensor, list[dict]], Tensor], image: Tensor, args) -> Tensor:
    """From the image to the label map."""
    size = tuple(image.shape[-2:])
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
    dtype = getattr(torch, args.dtype)
    with (
        torch.inference_mode(),
        torch.autocast(image.device.type, dtype, enabled=dtype != torch.float32),
    ):
        return infer(image, [meta]).argmax(1)


def parts_of(model: nn.Module, run: Callable[[], object], args: argparse.Namespace) -> dict:
    parts = PartTimes(args.device)
    parts.watch('backbone', model, 'extract_feat')
    parts.watch('head', model.decode_head)
    for _ in range(PART_RUNS):
        with parts.call():
            run()
    return parts.medians()


def row_of(name: str, size: tuple[int, int], mode: str, args: argparse.Namespace) -> dict[str, str]:
    torch.manual_seed(0)
    model = prepare(name, mode, args)
    image = torch.randn(1, 3, *size, device=args.device)
    runs = [partial(inference, model.inference, image, args)]
    if mode == 'slide':
        theirs = super(EncoderDecoder, model).slide_inference
        runs.append(partial(inference, theirs, image, args))
        with torch.inference_mode():
            metas = [dict(ori_shape=size, img_shape=size, pad_shape=size)]
            assert_close(model.slide_inference(image, metas), theirs(image, metas), name)
    # In slide mode the comparison was the warm-up.
    warmups = int(mode == 'whole')
    times = take_turns(runs, args.device, least=args.least, seconds=args.seconds, warmups=warmups)
    row = {
        'model': name,
        'size': f'{size[0]}x{size[1]}',
        'mode': mode,
        'ms': f'{1e3 * median(times[0]):.4g}',
        'spread': show_spread(times[0]),
        'MiB': f'{peak_memory(runs[0], args.device):.0f}',
    }
    if mode == 'slide':
        row['mmseg ms'] = f'{1e3 * median(times[1]):.4g}'
        row['mmseg MiB'] = f'{peak_memory(runs[1], args.device):.0f}'
        row['ours : mmseg'] = f'{median(times[1]) / median(times[0]):.2f}x'
    # Last: the clocks stay in the model.
    parts = parts_of(model, runs[0], args)
    return row | {part: f'{1e3 * seconds:.4g}' for part, seconds in parts.items()}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--models', nargs='+', default=MODELS, help='names or patterns')
    parser.add_argument(
        '--sizes', nargs='+', type=_size, default=[(512, 512), (512, 2048)], metavar='HxW'
    )
    parser.add_argument(
        '--modes', nargs='+', choices=['whole', 'slide'], default=['whole', 'slide']
    )
    parser.add_argument(
        '--window-batch', type=int, help="windows at a time; the model's own if absent"
    )
    parser.add_argument('--least', type=int, default=5, help='runs of each at least')
    add_run_arguments(parser, seconds=4.0)
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    height, width = text.split('x')
    return int(height), int(width)


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    known = list_models(task='segmentation')
    names = [name for name in known if any(fnmatch.fnmatch(name, p) for p in args.models)]
    if not names:
        sys.exit(f'--models must match some of {known}, got {args.models}')
    rows = []
    for name in names:
        for size in args.sizes:
            for mode in args.modes:
                rows.append(row_of(name, size, mode, args))
                print(rows[-1], file=sys.stderr)
    versions = f'mmvmamba {mmvmamba.__version__}, torch {torch.__version__}'
    facts = f'{machine(args.device)}; {args.dtype}; {versions}.'
    write_report(facts, markdown_table(COLUMNS, rows), args.out)


if __name__ == '__main__':
    main()

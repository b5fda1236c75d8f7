"""Latency of every detector, split into backbone, neck, heads and post-processing.

    python benchmarks/detectors.py                                     # the toy ones
    python benchmarks/detectors.py --real --seconds 0                  # 800 x 1333, batch 1
    python benchmarks/detectors.py --real --models 'l1_*' --device cuda --dtype float16

A detector runs from the image, as a tensor of bytes, to boxes and masks of the image's size. Its
weights are the initial ones, with one change: the first class gets a score that passes the
threshold everywhere, so that as many boxes as the config allows reach non-maximum suppression and
100 come out, as on a crowded photograph. Post-processing is what turns outputs of the heads into
proposals, boxes and pasted masks, non-maximum suppression included; the rest is the preparation of
the image and the collection of the results. Times are medians.
"""

import argparse
import fnmatch
import sys
from pathlib import Path

import torch
from common import (
    PartTimes,
    add_run_arguments,
    machine,
    markdown_table,
    median,
    set_threads,
    show_spread,
    take_turns,
    write_report,
)
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

import mmvmamba
from mmvmamba.apis.task_models import build_from_config, task_configs

PARTS = ('backbone', 'neck', 'heads', 'post-processing', 'rest')
COLUMNS = ('model', 'params M', 'image', 'boxes', 'ms', 'spread', *PARTS)
REAL_SIZE = (800, 1333)
# Logit of the first class, far above those of the others.
HIGH = 4.0


def configs_of(real: bool) -> dict[str, Path]:
    """Config files of detectors by name: the real ones, or the toys."""
    real_configs = task_configs('detection')
    if real:
        return real_configs
    toys = next(iter(real_configs.values())).parents[1] / 'toy'
    return {file.stem: file for file in sorted(toys.glob('det_*.py'))}


def image_size(config: Config, real: bool) -> tuple[int, int]:
    """Height and width: a toy is measured at the size that it is tested at."""
    if real:
        return REAL_SIZE
    pipeline = config.test_dataloader.dataset.pipeline
    width, height = next(step.scale for step in pipeline if step.type.endswith('Resize'))
    return height, width


def build(config: Config, device: str) -> nn.Module:
    model = build_from_config(config)
    model.init_weights()
    model = model.eval().to(device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('fc_cls.bias'):
                parameter[0] = HIGH
            elif name.endswith('retina_cls.bias'):
                parameter.view(-1, model.bbox_head.num_classes)[:, 0] = HIGH
    return model


def watch_parts(model: nn.Module, device: str) -> PartTimes:
    parts = PartTimes(device)
    parts.watch('backbone', model.backbone)
    parts.watch('neck', model.neck)
    for name in ('rpn_head', 'roi_head', 'bbox_head'):
        if hasattr(model, name):
            parts.watch('heads', getattr(model, name), 'predict')
    for module in model.modules():
        if hasattr(module, 'predict_by_feat'):
            parts.watch('post-processing', module, 'predict_by_feat')
    return parts


def make_sample(size: tuple[int, int], device: str) -> dict[str, list]:
    from mmdet.structures import DetDataSample

    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, device=device)
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=0)
    return dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])


def row_of(name: str, path: Path, args: argparse.Namespace) -> dict[str, str]:
    config = Config.fromfile(path)
    size = image_size(config, args.real)
    model = build(config, args.device)
    parts = watch_parts(model, args.device)
    sample = make_sample(size, args.device)
    found: list[Tensor] = []

    def run() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(args.device, args.autocast, enabled=args.autocast is not None),
            parts.call(),
        ):
            results = model.test_step({key: list(value) for key, value in sample.items()})
        found[:] = [results[0].pred_instances.scores]

    for _ in range(args.warmups):
        run()
    parts.calls.clear()
    (times,) = take_turns([run], args.device, least=args.least, seconds=args.seconds, warmups=0)
    medians = parts.medians()
    return {
        'model': name,
        'params M': f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}',
        'image': ' x '.join(map(str, size)),
        'boxes': str(len(found[0])),
        'ms': f'{median(times) * 1e3:.4g}',
        'spread': show_spread(times),
        **{part: f'{medians.get(part, 0.0) * 1e3:.4g}' for part in PARTS},
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--models', nargs='+', default=['*'], help='names or patterns')
    parser.add_argument(
        '--real', action='store_true', help='configs/det at 800 x 1333, not configs/toy'
    )
    parser.add_argument('--least', type=int, default=5, help='runs at least')
    parser.add_argument('--warmups', type=int, default=1, help='runs before them')
    add_run_arguments(parser, seconds=4.0)
    args = parser.parse_args()
    args.autocast = None if args.dtype == 'float32' else getattr(torch, args.dtype)
    return args


def main() -> None:
    args = parse_args()
    # Initialising a model logs every parameter.
    MMLogger.get_current_instance().setLevel('WARNING')
    set_threads(args.threads)
    torch.manual_seed(0)
    known = configs_of(args.real)
    chosen = {
        name: path
        for name, path in known.items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in args.models)
    }
    if not chosen:
        sys.exit(f'--models must match some of {list(known)}, got {args.models}')
    rows = []
    for name, path in chosen.items():
        rows.append(row_of(name, path, args))
        print(rows[-1], file=sys.stderr)
    facts = (
        f'{machine(args.device)}; {args.dtype}, batch 1; '
        f'mmvmamba {mmvmamba.__version__}, torch {torch.__version__}. Times in milliseconds.'
    )
    write_report(facts, markdown_table(COLUMNS, rows), args.out)


if __name__ == '__main__':
    main()

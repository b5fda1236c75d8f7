"""Where the time of a model goes: shares of matrix products, convolutions, the scan and the rest.

    python benchmarks/shares.py --models plain_mamba_l1 mambaout_femto --batch 1 16 [--optimize]
    python benchmarks/shares.py --trainings configs/toy/det_plain_mamba_maskrcnn.py

Images are noise. A training is a whole step: batch, losses, gradients, optimizer, with the objects
and labels of a blank batch. Times of operators are those of torch's profiler on one thread, each
without the operators it calls; 'Python' is what is left of the time of the call, which the profiler
lengthens for small operators. Milliseconds are medians without the profiler.
"""

import argparse
import fnmatch
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from common import machine, markdown_table, measure, median, write_report
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch.profiler import ProfilerActivity, profile

import mmvmamba
from mmvmamba.apis import get_model, list_models, optimize_for_inference
from mmvmamba.apis.blank_batches import training_shape
from mmvmamba.apis.memory import TrainingStep
from mmvmamba.apis.model_table import find_model

# Patterns of the names of operators. The first group that fits counts.
GROUPS = {
    'matrix products': ('*mm', '*addmv', '*_linear*', '*::linear*', '*attention*'),
    'convolutions': ('*conv*',),
    'scan': ('*selective_scan*', 'mmvmamba::gated_scan'),
    'regions': ('RoIAlign*', 'mmvmamba::ms_deform*', '*grid_sampler*', '*::nms', 'NMSop*'),
    'norms': ('*layer_norm*', '*batch_norm*', '*group_norm*', '*rms_norm*'),
    'copies': (
        '*copy*', '*clone', '*contiguous', 'aten::cat', 'aten::stack', '*::index*', '*_index*',
        'aten::fill_', 'aten::zero_', 'aten::*pad*', '*gather*', '*scatter*', 'aten::repeat',
        'aten::empty*', 'aten::new_*',
    ),
    'optimizer': ('Optimizer*', '*foreach*', '*_fused_*'),
}  # fmt: skip
OTHERS, PYTHON = 'other operators', 'Python'
COLUMNS = (
    'case', 'ms', *GROUPS, OTHERS, PYTHON, 'operators', 'copies made', 'concatenations',
)  # fmt: skip


def group_of(name: str) -> str:
    """The group of an operator."""
    for group, patterns in GROUPS.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return group
    return OTHERS


def shares(run: Callable[[], object], calls: int) -> dict[str, str]:
    """Cells of a table for a call: milliseconds, shares of its time in percent, counts."""
    run()
    milliseconds = 1e3 * median([measure(run) for _ in range(calls)])
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        wall = 1e6 * sum(measure(run) for _ in range(calls))
    found = profiler.key_averages()
    times = dict.fromkeys((*GROUPS, OTHERS), 0.0)
    for event in found:
        times[group_of(event.key)] += event.self_cpu_time_total
    times[PYTHON] = max(wall - sum(times.values()), 0.0)
    counts = {event.key: event.count // calls for event in found}
    return {
        'ms': f'{milliseconds:.1f}',
        **{group: f'{100 * time / wall:.0f}%' for group, time in times.items()},
        'operators': str(sum(n for name, n in counts.items() if name.startswith(('aten', 'mm')))),
        'copies made': str(counts.get('aten::copy_', 0)),
        'concatenations': str(counts.get('aten::cat', 0)),
    }


def inference(name: str, batch: int, optimize: bool) -> Callable[[], object]:
    """A call of a classifier."""
    model = get_model(name).eval()
    if optimize:
        model = optimize_for_inference(model)
    side = find_model(name).preprocessing.img_size
    images = torch.randn(batch, 3, side, side)

    def run() -> None:
        with torch.inference_mode():
            model(images)

    return run


def training(path: str) -> Callable[[], object]:
    """A step of the training of a config, always from the same random state."""
    cfg = Config.fromfile(path)
    step = TrainingStep(cfg, cfg.train_dataloader.batch_size, training_shape(cfg))
    for image in step.batch['inputs']:
        image.random_(0, 256)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        optimizer = build_optim_wrapper(step.model, cfg.optim_wrapper)

    def run() -> None:
        torch.manual_seed(0)
        step.model.train_step(step.batch, optimizer)

    return run


def rows_of(args: argparse.Namespace) -> list[Mapping[str, str]]:
    names = [n for n in list_models(task='classification') if matches(n, args.models)]
    rows: list[Mapping[str, str]] = []
    for name in names:
        for batch in args.batch:
            run = inference(name, batch, args.optimize)
            rows.append({'case': f'{name}, {batch}', **shares(run, args.calls)})
    for path in args.trainings:
        rows.append({'case': Path(path).stem, **shares(training(path), args.calls)})
    return rows


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='*', default=[], help='names or patterns')
    parser.add_argument('--batch', nargs='+', type=int, default=[1])
    parser.add_argument('--optimize', action='store_true', help='models made ready for inference')
    parser.add_argument('--trainings', nargs='*', default=[], help='configs')
    parser.add_argument('--calls', type=int, default=5, help='of each case; default: %(default)s')
    parser.add_argument('--out', type=Path, help='Markdown file; printed if not given')
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    facts = f'{machine()}; mmvmamba {mmvmamba.__version__}, torch {torch.__version__}.'
    write_report(facts, markdown_table(COLUMNS, rows_of(args)), args.out)


if __name__ == '__main__':
    main()

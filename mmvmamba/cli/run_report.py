"""What is said of a run as it begins and as it ends."""

import re
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmvmamba.ops.backends import Backends
from mmvmamba.ops.ms_deform_attn.dispatch import DEFORM_ATTN
from mmvmamba.ops.selective_scan.dispatch import SCAN

from .progress import ProgressHook, has_terminal
from .tables import format_columns

__all__ = ['RunReportHook', 'format_duration', 'show_run']

# Of a selective scan and of deformable attention, a usual size.
OPERATORS = ((SCAN, 16), (DEFORM_ATTN, 32))


class RunReportHook(Hook):
    """Says before a run what will be run on what, and after a training what came of it."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Says what is trained."""
        self.start, self.first_step = time.monotonic(), runner.iter
        rows = _model_rows(runner)
        rows.append(('training data', _data(runner.train_dataloader)))
        if runner.val_loop is not None:
            rows.append(('validation', _data(runner.val_dataloader)))
        rows += [('schedule', _schedule(runner)), ('seed', str(runner.seed)), *_place_rows(runner)]
        runner.logger.info(format_columns(rows))

    def before_test(self, runner: Runner) -> None:
        """Says what is tested."""
        rows = _model_rows(runner)
        rows.append(('test data', _data(runner.test_dataloader)))
        runner.logger.info(format_columns([*rows, *_place_rows(runner)]))

    def after_train(self, runner: Runner) -> None:
        """Says what came of it."""
        seconds = time.monotonic() - self.start
        steps = runner.iter - self.first_step
        rows = [('time', f'{format_duration(seconds)}, {seconds / max(steps, 1):.2f} s a step')]
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**30
            rows.append(('memory', f'{peak:.1f} GiB on the GPU at most'))
        else:
            rows.append(('memory', f'{_process_memory():.1f} GiB at most, without loaders'))
        rows += _best_rows(runner)
        last = runner.message_hub.runtime_info.get('last_ckpt')
        if last:
            rows.append(('last checkpoint', str(last)))
        rows.append(('files', runner.work_dir))
        runner.logger.info(format_columns(rows))


def show_run(runner: Runner, verbose: bool = False) -> None:
    """Has a run say what it is, how far it is, and what came of it.

    Args:
        runner: The run, before it begins.
        verbose: Whether the terminal has the whole log, with which no progress line goes together.
    """
    if has_terminal() and not verbose:
        # First, so that its line is gone when the report comes.
        runner.register_hook(ProgressHook(), priority='LOWEST')
    runner.register_hook(RunReportHook(), priority='LOWEST')


def format_duration(seconds: float) -> str:
    """Hours, minutes and seconds as one reads them."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min {seconds:02d} s'


def _model_rows(runner: Runner) -> list[tuple[str, str]]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    parts = [type(model).__name__]
    backbone = getattr(model, 'backbone', None)
    if isinstance(backbone, nn.Module):
        parts.append(f'with {type(backbone).__name__}')
    counts = [p.numel() for p in model.parameters()]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = f'{sum(counts) / 1e6:.2f} M parameters'
    if trained != sum(counts):
        size += f', {trained / 1e6:.2f} M of them trained'
    rows = [('model', f'{" ".join(parts)}, {size}')]
    if runner._load_from:
        rows.append(('weights', f'{"resumed from " if runner._resume else ""}{runner._load_from}'))
    return rows


def _data(loader: torch.utils.data.DataLoader) -> str:
    dataset: Any = loader.dataset
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    of = f' of {len(classes)} classes' if classes else ''
    batches = _count(len(loader), 'batch', 'batches')
    size = getattr(loader.batch_sampler, 'batch_size', None)
    if size is not None:
        batches += f' of {size}'
    root = getattr(dataset, 'data_root', None)
    return f'{_count(len(dataset), "image")}{of} in {batches}' + (f' ({root})' if root else '')


def _schedule(runner: Runner) -> str:
    loop = runner.train_loop
    epochs = runner.cfg.train_cfg.get('max_epochs')
    length = _count(loop.max_iters, 'step')
    if epochs:
        length = f'{_count(epochs, "epoch")}, {length}'
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    if optimizer is None:
        return length
    rate = max(group.get('initial_lr', group['lr']) for group in optimizer.param_groups)
    return f'{length}; {type(optimizer).__name__}, learning rate {rate:g}'


def _place_rows(runner: Runner) -> list[tuple[str, str]]:
    device = next(runner.model.parameters()).device
    if device.type == 'cuda':
        where = torch.cuda.get_device_name(device)
    else:
        where = f'CPU, {_count(torch.get_num_threads(), "thread")}'
    if runner.world_size > 1:
        where += f', {runner.world_size} processes'
    used = ', '.join(
        f'{backends.operator} by {_in_use(backends, device, size)}' for backends, size in OPERATORS
    )
    return [
        ('device', where),
        ('operators', used),
        ('work dir', runner.work_dir),
        ('log', str(Path(runner.log_dir) / f'{runner.timestamp}.log')),
    ]


def _count(number: int, one: str, many: str | None = None) -> str:
    return f'{number} {one if number == 1 else many or one + "s"}'


def _in_use(backends: Backends, device: torch.device, size: int) -> str:
    for name in backends.modules:
        if backends.unavailable_reason(name, device, torch.float32, size) is None:
            return name
    return 'none'


def _best_rows(runner: Runner) -> list[tuple[str, str]]:
    """The best validation and its checkpoint, of each metric that decides what is kept."""
    info = runner.message_hub.runtime_info
    names = [
        name
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook) and hook.save_best
        for name in hook.key_indicators
    ]
    rows = []
    for name in names:
        # mmengine leaves the name out if there is but one.
        score, path = (
            info.get(key if len(names) == 1 else f'{key}_{name}')
            for key in ('best_score', 'best_ckpt')
        )
        if score is not None:
            rows.append((f'best {name}', f'{score:.4f}{_when(path)}'))
        if path is not None:
            rows.append(('best checkpoint', str(path)))
    return rows


def _when(path: str | None) -> str:
    """The epoch or step of a best checkpoint, as its name has it."""
    match = re.search(r'_(epoch|iter)_(\d+)\.pth$', path or '')
    return f' after {"epoch" if match[1] == "epoch" else "step"} {match[2]}' if match else ''


def _process_memory() -> float:
    """The largest memory of this process, in GiB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

"""What the training tool's arguments do to a config, and which runner runs it."""

import argparse
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS

from mmvmamba.engine import Runner, latest_checkpoint

from .configs import task_of
from .errors import UserError
from .preflight import check_amp

__all__ = [
    'build_runner',
    'set_amp',
    'set_auto_scale_lr',
    'set_resume',
    'set_seed_of_run',
    'set_show_val',
    'with_common_arguments',
]

AUTO = 'auto'
FINITE_AMP = 'mmvmamba.FiniteAmpOptimWrapper'


def with_common_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """A copy of the config with what training and testing are told alike."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.launcher = args.launcher
    if args.allow_partial:
        cfg.allow_partial = True
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = _default_work_dir(args.config)
    return cfg


def _default_work_dir(config_path: str) -> str:
    """Names the work dir of a config that sets none: ``work_dirs/<file name>``."""
    return str(Path('work_dirs') / Path(config_path).stem)


def set_amp(cfg: Config) -> None:
    """Switches the optimizer wrapper to automatic mixed precision.

    Raises:
        UserError: If the machine has no accelerator or the config uses a wrapper of its own.
    """
    check_amp()
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', FINITE_AMP):
        raise UserError(f'--amp replaces OptimWrapper, but the config uses {kind}')
    if kind == 'OptimWrapper':
        cfg.optim_wrapper.type = FINITE_AMP
        if task_of(cfg) == 'detection':
            cfg.optim_wrapper.dtype = 'auto_float16'


def set_auto_scale_lr(cfg: Config) -> None:
    """Switches on the scaling of the learning rate by the real batch size.

    Raises:
        UserError: If the config does not say for which batch size its learning rate is meant.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in the config')
    cfg.auto_scale_lr.enable = True


def set_resume(cfg: Config, checkpoint: str) -> bool:
    """Has training go on from a checkpoint.

    Args:
        cfg: The config, changed in place.
        checkpoint: A file, or 'auto' for the latest of the work dir.

    Returns:
        Whether there is one; if 'auto' found none, training starts from the beginning.
    """
    found = latest_checkpoint(cfg.work_dir) if checkpoint == AUTO else checkpoint
    cfg.resume = found is not None
    if cfg.resume:
        cfg.load_from = found
    return cfg.resume


def set_seed_of_run(cfg: Config, meta: dict) -> None:
    """Has a resumed run draw with the seed it began with, unless one is given.

    The samplers take the seed when they are built, before mmengine reads the checkpoint.

    Args:
        cfg: The config, changed in place.
        meta: The ``meta`` entry of the checkpoint.
    """
    if cfg.get('resume') and cfg.get('randomness', {}).get('seed') is None:
        cfg.randomness = {**cfg.get('randomness', {}), 'seed': meta.get('seed')}


def set_show_val(cfg: Config, limit: int) -> None:
    """Has pictures of predictions drawn at each validation.

    Args:
        cfg: The config, changed in place.
        limit: How many each time.
    """
    hook = dict(type='mmvmamba.ValidationPicturesHook', limit=limit)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def build_runner(cfg: Config) -> Runner:
    """Builds the runner that the config names, by default the one of mmvmamba."""
    # Logs and figures have the second's name; of two runs with one name, one writes into the other.
    while any(name.endswith(_second()) for name in MMLogger._instance_dict):
        time.sleep(0.05)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _second() -> str:
    """The name that mmengine gives to a run that begins now."""
    return time.strftime('%Y%m%d_%H%M%S', time.localtime(time.time()))

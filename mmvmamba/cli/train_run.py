"""A training from its arguments: ``mmvmamba train``."""

import argparse

from mmengine.config import Config

from mmvmamba.checkpoint import CheckpointError
from mmvmamba.datasets.errors import DataError
from mmvmamba.engine.launch import init_dist, is_first_process
from mmvmamba.engine.run_errors import RunError

from .configs import load_config, task_of
from .dataset_checks import check_pairs
from .errors import UserError, user_errors
from .evaluation import fit_topk
from .own_data import write_config
from .preflight import check_data, check_model, check_weights, check_work_dir
from .progress import has_terminal
from .run_report import show_run
from .schedule_checks import check_schedule, unreached_schedules
from .terminal import quiet_terminal
from .trackers import set_trackers
from .training import (
    build_runner,
    set_amp,
    set_auto_scale_lr,
    set_resume,
    set_seed_of_run,
    set_show_val,
    with_common_arguments,
)
from .work_dir_lock import lock_work_dir

__all__ = ['check', 'merge_args', 'train']


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Writes the arguments into a copy of the config."""
    cfg = with_common_arguments(cfg, args)
    # mmengine draws a seed where it finds None.
    cfg.randomness = {'seed': None, **cfg.get('randomness', {})}
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
    if args.amp:
        set_amp(cfg)
    if args.auto_scale_lr:
        set_auto_scale_lr(cfg)
    if args.log_to:
        set_trackers(cfg, args.log_to)
    if args.show_val:
        set_show_val(cfg, args.show_val)
    fit_topk(cfg, 'val_evaluator')
    return cfg


def check(cfg: Config) -> None:
    """Refuses what would fail later; touches the disk last."""
    task_of(cfg)
    if not cfg.get('train_dataloader') or not cfg.get('train_cfg'):
        raise UserError(f'{cfg.filename} has no train_dataloader or train_cfg: nothing to train')
    check_schedule(cfg)
    check_data(cfg, ('train_dataloader', 'val_dataloader'))
    check_pairs(cfg, ('train_dataloader', 'val_dataloader'))
    meta = check_weights(cfg, check_model(cfg))
    set_seed_of_run(cfg, meta)
    check_work_dir(cfg.work_dir)


def train(args: argparse.Namespace) -> None:
    """Trains as the arguments of ``mmvmamba train`` say."""
    with quiet_terminal(args.verbose, has_terminal()):
        _train(args)


def _train(args: argparse.Namespace) -> None:
    with user_errors(args.debug):
        if args.data is not None:
            args.config = write_config(args)
        cfg = merge_args(load_config(args.config, args.cfg_options), args)
        if args.resume or cfg.get('resume'):
            set_resume(cfg, args.resume or cfg.get('load_from') or 'auto')
        check(cfg)
        init_dist(args.launcher, cfg.get('env_cfg', {}).get('dist_cfg'))
        # One process of a run holds it, until it ends.
        lock = lock_work_dir(cfg.work_dir) if is_first_process(args.launcher) else None
        runner = build_runner(cfg)
        show_run(runner, args.verbose)
        if args.resume and not cfg.resume:
            runner.logger.warning(f'--resume: no checkpoint in {cfg.work_dir}, starting anew')
        for sentence in unreached_schedules(cfg):
            runner.logger.warning(sentence)
    with user_errors(args.debug, also=(CheckpointError, DataError, RunError)):
        runner.train()
    if lock:
        lock.close()

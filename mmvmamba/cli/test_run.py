"""A test of a checkpoint from its arguments: ``mmvmamba test``."""

import argparse
import os

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmvmamba.checkpoint import CheckpointError
from mmvmamba.datasets.errors import DataError
from mmvmamba.engine.launch import init_dist
from mmvmamba.engine.run_errors import RunError
from mmvmamba.engine.shared_results import OtherOriginError

from .configs import load_config, task_of
from .dataset_checks import check_pairs
from .errors import UserError, user_errors
from .evaluation import (
    fit_topk,
    format_table,
    set_all_figures,
    set_classwise,
    set_format_only,
    set_metrics,
    set_out_file,
    set_results,
    set_show_dir,
    set_tta,
)
from .preflight import check_data, check_model, check_weights, check_work_dir
from .progress import has_terminal
from .run_report import show_run
from .terminal import quiet_terminal, to_log_only
from .training import build_runner, with_common_arguments

__all__ = ['check', 'merge_args', 'test']


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Writes the arguments into a copy of the config."""
    cfg = with_common_arguments(cfg, args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.eval:
        set_metrics(cfg, args.eval, args.topk)
    set_all_figures(cfg)
    fit_topk(cfg, 'test_evaluator', args.topk)
    if args.classwise:
        set_classwise(cfg)
    if args.format_only:
        set_format_only(cfg, args.format_only)
    if args.tta:
        set_tta(cfg)
    if args.out:
        set_out_file(cfg, args.out)
    if args.show_dir:
        set_show_dir(cfg, args.show_dir, args.show_limit, args.opacity)
    if args.results:
        set_results(cfg, args.results)
    return cfg


def check(cfg: Config) -> None:
    """Refuses what would fail later; touches the disk last."""
    task_of(cfg)
    if not cfg.get('test_dataloader') or cfg.get('test_cfg') is None:
        raise UserError(f'{cfg.filename} has no test_dataloader or test_cfg: nothing to test')
    check_data(cfg, ('test_dataloader',))
    check_pairs(cfg, ('test_dataloader',))
    check_weights(cfg, check_model(cfg))
    check_work_dir(cfg.work_dir)
    if cfg.test_cfg.get('results'):
        folder = os.path.dirname(cfg.test_cfg.results) or '.'
        check_work_dir(folder, 'the folder of the results', '--results')


def test(args: argparse.Namespace) -> None:
    """Tests as the arguments of ``mmvmamba test`` say."""
    with quiet_terminal(args.verbose, has_terminal()):
        _test(args)


def _test(args: argparse.Namespace) -> None:
    with user_errors(args.debug):
        cfg = merge_args(load_config(args.config, args.cfg_options), args)
        check(cfg)
        init_dist(args.launcher, cfg.get('env_cfg', {}).get('dist_cfg'))
        runner = build_runner(cfg)
        show_run(runner, args.verbose)
    with user_errors(args.debug, also=(CheckpointError, DataError, OtherOriginError, RunError)):
        metrics = runner.test()
    if is_main_process():
        text = format_table(metrics) if metrics else 'results written, nothing evaluated'
        print(text)
        to_log_only(runner.logger, f'\n{text}')

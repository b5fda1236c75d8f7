"""Trains a classifier, detector or segmentor from its config."""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import argparse

from mmengine.config import Config, DictAction

from mmvmamba.checkpoint import CheckpointError
from mmvmamba.cli.configs import load_config, task_of
from mmvmamba.cli.dataset_checks import check_pairs
from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.cli.evaluation import fit_topk
from mmvmamba.cli.preflight import check_data, check_model, check_weights, check_work_dir
from mmvmamba.cli.schedule_checks import check_schedule, unreached_schedules
from mmvmamba.cli.training import (
    build_runner,
    default_work_dir,
    set_amp,
    set_auto_scale_lr,
    set_resume,
    set_seed_of_run,
)
from mmvmamba.cli.work_dir_lock import lock_work_dir
from mmvmamba.datasets.errors import DataError
from mmvmamba.engine.launch import init_dist, is_first_process
from mmvmamba.engine.run_errors import RunError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/train.py configs/toy/det_plain_mamba_maskrcnn.py --seed 0',
    )
    parser.add_argument('config', help='config file; the task is read off it')
    parser.add_argument(
        '--work-dir', metavar='DIR', help='logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='go on from CKPT, or without CKPT from the latest checkpoint of the work dir, if any',
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='load what fits of the checkpoint that load_from names, and list what does not',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (GPU only)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the real batch size over the one it was set for',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.batch_size=4',
    )
    parser.add_argument('--seed', type=int, help='random seed (default: a random one, logged)')
    parser.add_argument(
        '--deterministic', action='store_true', help='use deterministic algorithms only (slower)'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run (default: none)',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    # torchrun's predecessor passes it; the environment says the same.
    parser.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Writes the arguments into a copy of the config."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = default_work_dir(args.config)
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
    if args.allow_partial:
        cfg.allow_partial = True
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


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        cfg = merge_args(load_config(args.config, args.cfg_options), args)
        if args.resume or cfg.get('resume'):
            set_resume(cfg, args.resume or cfg.get('load_from') or 'auto')
        check(cfg)
        init_dist(args.launcher, cfg.get('env_cfg', {}).get('dist_cfg'))
        # One process of a run holds it, until it ends.
        lock = lock_work_dir(cfg.work_dir) if is_first_process(args.launcher) else None
        runner = build_runner(cfg)
        if args.resume and not cfg.resume:
            runner.logger.warning(f'--resume: no checkpoint in {cfg.work_dir}, starting anew')
        for sentence in unreached_schedules(cfg):
            runner.logger.warning(sentence)
    with user_errors(args.debug, also=(CheckpointError, DataError, RunError)):
        runner.train()
    if lock:
        lock.close()


if __name__ == '__main__':
    main()

"""Tests a checkpoint on the test data of its config and prints a table of the metrics."""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import argparse

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process

from mmvmamba.checkpoint import CheckpointError
from mmvmamba.cli.configs import load_config, task_of
from mmvmamba.cli.dataset_checks import check_pairs
from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.cli.evaluation import (
    fit_topk,
    format_table,
    set_classwise,
    set_format_only,
    set_metrics,
    set_out_file,
    set_show_dir,
    set_tta,
)
from mmvmamba.cli.preflight import check_data, check_model, check_weights, check_work_dir
from mmvmamba.cli.training import build_runner, default_work_dir
from mmvmamba.datasets.errors import DataError
from mmvmamba.engine.launch import init_dist
from mmvmamba.engine.run_errors import RunError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/test.py configs/det/l1_maskrcnn_1x.py l1.pth --eval bbox',
    )
    parser.add_argument('config', help='config file; the task is read off it')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='test with what fits of the checkpoint, and list what does not',
    )
    parser.add_argument(
        '--eval',
        nargs='+',
        metavar='METRIC',
        help='metrics to compute. Detection: bbox segm proposal. Segmentation: mIoU mDice mFscore. '
        'Classification: accuracy precision recall f1-score. (default: those of the config)',
    )
    parser.add_argument(
        '--topk', nargs='+', type=int, metavar='K', help='for --eval accuracy, such as 1 5'
    )
    parser.add_argument(
        '--classwise', action='store_true', help='detection: figures of each class as well'
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='where the log goes (default: work_dirs/<config name>)'
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of the predictions here')
    parser.add_argument(
        '--show-limit', type=int, metavar='N', help='at most N pictures (default: all)'
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation of the config')
    parser.add_argument(
        '--format-only',
        metavar='PREFIX',
        help='do not evaluate; write results as the benchmark server takes them '
        '(detection: PREFIX.bbox.json and so on; segmentation: label images in the folder PREFIX)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as test_dataloader.batch_size=4',
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
    args = parser.parse_args(argv)
    if args.eval and args.format_only:
        parser.error('--eval and --format-only exclude each other')
    if args.show_limit is not None and not args.show_dir:
        parser.error('--show-limit needs --show-dir DIR')
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Writes the arguments into a copy of the config."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.launcher = args.launcher
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.allow_partial:
        cfg.allow_partial = True
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = default_work_dir(args.config)
    if args.eval:
        set_metrics(cfg, args.eval, args.topk)
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
        set_show_dir(cfg, args.show_dir, args.show_limit)
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


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        cfg = merge_args(load_config(args.config, args.cfg_options), args)
        check(cfg)
        init_dist(args.launcher, cfg.get('env_cfg', {}).get('dist_cfg'))
        runner = build_runner(cfg)
    with user_errors(args.debug, also=(CheckpointError, DataError, RunError)):
        metrics = runner.test()
    if is_main_process():
        print(format_table(metrics) if metrics else 'results written, nothing evaluated')


if __name__ == '__main__':
    main()

"""``mmvmamba test``."""

import argparse

from mmvmamba.cli.arguments import add_cfg_options, add_launcher, add_verbose, fraction
from mmvmamba.cli.errors import UserError

__all__ = ['BAD_INPUT', 'EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'test a checkpoint on the test data of its config'
EXAMPLE = 'mmvmamba test configs/det/l1_maskrcnn_1x.py l1.pth --eval bbox'

# Once the test runs, a ValueError is a bug and keeps its traceback.
BAD_INPUT = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the config, the checkpoint, what is computed and what is written."""
    parser.add_argument('config', help='config file; the task is read off it')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='test with what fits of the checkpoint',
    )
    figures = parser.add_mutually_exclusive_group()
    figures.add_argument(
        '--eval',
        nargs='+',
        metavar='METRIC',
        help='detection: bbox segm proposal; segmentation: mIoU mDice mFscore; classification: '
        'accuracy precision recall f1-score (default: those of the config)',
    )
    # PlainMamba's classifiers are tested with it.
    figures.add_argument('--metrics', nargs='+', dest='eval', help=argparse.SUPPRESS)
    parser.add_argument(
        '--topk', nargs='+', type=int, metavar='K', help='for --eval accuracy, such as 1 5'
    )
    parser.add_argument(
        '--classwise', action='store_true', help='detection: figures of each class as well'
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='where the log goes (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='write all predictions: .json beside the truth, for mmvmamba show; or .pkl',
    )
    parser.add_argument(
        '--results',
        metavar='FILE.jsonl',
        help='keep what metrics need of each image; the same command goes on where it stopped',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of the predictions here')
    parser.add_argument(
        '--show-limit', type=int, metavar='N', help='at most N of them (default: all)'
    )
    parser.add_argument(
        '--opacity', type=fraction, metavar='O', help='of the colours of a segmentation, 0 to 1'
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation of the config')
    figures.add_argument(
        '--format-only',
        metavar='PREFIX',
        help='do not evaluate; write what a benchmark server takes: PREFIX.bbox.json and so on, '
        'or label images in the folder PREFIX',
    )
    add_cfg_options(parser, 'test_dataloader.batch_size=4')
    add_launcher(parser)
    add_verbose(parser)


def run(args: argparse.Namespace) -> None:
    """Tests and prints the table."""
    for flag in ('show_limit', 'opacity'):
        if getattr(args, flag) is not None and not args.show_dir:
            raise UserError(f'--{flag.replace("_", "-")} needs --show-dir DIR')
    from mmvmamba.cli.test_run import test

    test(args)

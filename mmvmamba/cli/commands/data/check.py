"""``mmvmamba data check``."""

import argparse

from mmvmamba.cli.arguments import add_cfg_options

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'read all data that a config names and list what is wrong with it'
EXAMPLE = 'mmvmamba data check configs/seg/l1_upernet.py --split val'

SPLITS = ('train', 'val', 'test')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the config, what is read of it, and where the faults go."""
    parser.add_argument('config', help='config file; the task is read off it')
    parser.add_argument(
        '--split', nargs='+', choices=SPLITS, help='which splits to read (default: all it has)'
    )
    parser.add_argument(
        '--workers', type=int, default=4, metavar='N', help='how many read at a time (default: 4)'
    )
    parser.add_argument(
        '--show', type=int, default=20, metavar='N', help='lines to print a split (default: 20)'
    )
    parser.add_argument('--out', metavar='FILE', help='write all faults and notes to a text file')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    add_cfg_options(parser, 'train_dataloader.dataset.data_root=DIR')


def run(args: argparse.Namespace) -> int:
    """Prints the faults of each split; returns 1 if there are any."""
    from mmvmamba.cli.dataset_report import report

    return report(args)

"""Reads all data that a config names and lists what is wrong with it.

Exit codes: 0 all well, 1 faults were found (they are listed), 2 bad input.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmvmamba.cli.configs import load_config
from mmvmamba.cli.dataset_checks import SPLITS, check_split, splits_of
from mmvmamba.cli.errors import user_errors
from mmvmamba.cli.preflight import check_data

EXIT_FAULTS = 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/misc/check_dataset.py configs/seg/l1_upernet.py --split val',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file; the task is read off it')
    parser.add_argument(
        '--split', nargs='+', choices=SPLITS, help='which splits to read (default: all it has)'
    )
    parser.add_argument(
        '--workers', type=int, default=4, metavar='N', help='how many read at a time (default: 4)'
    )
    parser.add_argument(
        '--show', type=int, default=20, metavar='N', help='faults to print a split (default: 20)'
    )
    parser.add_argument('--out', metavar='FILE', help='write all faults to a text file')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.dataset.data_root=DIR',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    lines = []
    with user_errors(args.debug):
        cfg = load_config(args.config, args.cfg_options)
        splits = args.split or splits_of(cfg)
        check_data(cfg, tuple(f'{split}_dataloader' for split in splits))
        for split in splits:
            faults = check_split(cfg, split, args.workers, not args.quiet)
            print(f'{split}: {len(faults)} faults' if faults else f'{split}: no fault')
            for fault in faults[: args.show]:
                print(f'  {fault}')
            if len(faults) > args.show:
                print(f'  and {len(faults) - args.show} more')
            lines += [f'{split}\t{fault.path}\t{fault.problem}\n' for fault in faults]
        if args.out:
            Path(args.out).write_text(''.join(lines), errors='surrogateescape')
    return EXIT_FAULTS if lines else 0


if __name__ == '__main__':
    sys.exit(main())

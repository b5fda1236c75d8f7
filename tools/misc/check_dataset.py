"""Reads all data that a config names and lists what is wrong with it.

Faults are what training or evaluation would stop at, in the same words. Notes are what training
leaves out or cuts, such as boxes without area or classes without an image.

Exit codes: 0 no fault, 1 faults were found (they are listed), 2 bad input.
"""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmvmamba.cli.configs import load_config
from mmvmamba.cli.dataset_checks import SPLITS, check_split, splits_of
from mmvmamba.cli.errors import user_errors
from mmvmamba.cli.preflight import check_data
from mmvmamba.datasets.checks import Fault

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
        '--show', type=int, default=20, metavar='N', help='lines to print a split (default: 20)'
    )
    parser.add_argument('--out', metavar='FILE', help='write all faults and notes to a text file')
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
    lines, number = [], 0
    with user_errors(args.debug):
        cfg = load_config(args.config, args.cfg_options)
        splits = args.split or splits_of(cfg)
        check_data(cfg, tuple(f'{split}_dataloader' for split in splits))
        for split in splits:
            found = check_split(cfg, split, args.workers, not args.quiet)
            # Stable: faults stay in the order in which training would meet them.
            found.sort(key=lambda fault: fault.is_note)
            number += print_faults(split, found, args.show)
            lines += [f'{split}\t{_kind(f)}\t{f.path}\t{f.problem}\n' for f in found]
        if args.out:
            Path(args.out).write_text(''.join(lines), errors='surrogateescape')
    return EXIT_FAULTS if number else 0


def print_faults(split: str, found: list[Fault], limit: int) -> int:
    """Prints what was found in a split, faults before notes, and returns the number of faults."""
    notes = sum(fault.is_note for fault in found)
    faults = len(found) - notes
    print(f'{split}: {_count(faults, "fault")}' + (f', {_count(notes, "note")}' if notes else ''))
    for fault in found[:limit]:
        print(f'  note: {fault}' if fault.is_note else f'  {fault}')
    if len(found) > limit:
        print(f'  and {len(found) - limit} more')
    return faults


def _count(number: int, what: str) -> str:
    return f'no {what}' if number == 0 else f'{number} {what}' + ('s' if number > 1 else '')


def _kind(fault: Fault) -> str:
    return 'note' if fault.is_note else 'fault'


if __name__ == '__main__':
    sys.exit(main())

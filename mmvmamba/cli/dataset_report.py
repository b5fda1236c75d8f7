"""What is wrong with the data of a config, listed: ``mmvmamba data check``."""

import argparse
from pathlib import Path

from mmvmamba.datasets.checks import Fault

from .configs import load_config
from .dataset_checks import check_split, splits_of
from .errors import EXIT_FOUND
from .preflight import check_data

__all__ = ['print_faults', 'report']


def report(args: argparse.Namespace) -> int:
    """Lists faults and notes as the arguments of ``mmvmamba data check`` say.

    Faults are what training or evaluation would stop at, in the same words. Notes are what training
    leaves out or cuts, such as boxes without area or classes without an image.

    Returns:
        1 if there are faults, otherwise 0.
    """
    lines, number = [], 0
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
    return EXIT_FOUND if number else 0


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

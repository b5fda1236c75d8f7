"""``mmvmamba data lmdb``."""

import argparse

from mmvmamba.cli.arguments import count
from mmvmamba.cli.errors import UserError

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'build LMDB databases from image files, check them and turn them back into files'
EXAMPLE = """mmvmamba data lmdb create data/imagenet/train data/imagenet/train.lmdb
  mmvmamba data lmdb create ILSVRC2012_img_val.tar data/imagenet/val.lmdb --list meta/val.txt
  mmvmamba data lmdb create data/coco data/coco.lmdb --layout tree --all-files
  mmvmamba data lmdb create imagenet21k train.lmdb --shard 3/8  # on the third of 8 machines
  mmvmamba data lmdb merge train-*-of-00008.lmdb train.lmdb
  mmvmamba data lmdb verify data/imagenet/train.lmdb --workers 8
  mmvmamba data lmdb export data/imagenet/val.lmdb val_again"""

ACTIONS = ('create', 'merge', 'info', 'verify', 'export')
SPLITS = ('train', 'val')
# Those of mmvmamba.datasets.lmdb.sources.
LAYOUTS = ('folder', 'list', 'tar', 'tree')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be done to a database."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        '--workers',
        type=count,
        metavar='N',
        help='processes that read; 0 for none (default: one for each core but one, at most 8)',
    )
    common.add_argument('--quiet', action='store_true', help='no progress bar')
    _add_pairs(parser)
    commands = parser.add_subparsers(dest='action', metavar='ACTION')
    _add_create(commands, common)
    _add_merge(commands)
    info = commands.add_parser('info', help='say what a database holds')
    info.add_argument('database')
    info.add_argument('--json', action='store_true', help='print the header as JSON')
    verify = commands.add_parser('verify', parents=[common], help='read every record and check it')
    verify.add_argument('database')
    verify.add_argument('--decode', action='store_true', help='decode every image as well')
    export = commands.add_parser(
        'export', parents=[common], help='write the records to files, byte for byte'
    )
    export.add_argument('database')
    export.add_argument('folder', help='where the files go, each at the path that is its key')
    export.add_argument('--list', metavar='FILE', help='also write "<key> <label>" lines here')
    export.add_argument('--overwrite', action='store_true', help='the folder may have files')


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    """Adds what PlainMamba's program takes in place of an action."""
    pairs = parser.add_argument_group('without an action, both splits of folders of classes')
    for split in SPLITS:
        pairs.add_argument(f'--{split}-img-dir', metavar='DIR', help='folder of class folders')
        pairs.add_argument(f'--{split}-out', metavar='DIR', help='the database')
    parser.set_defaults(debug=False)


def _add_create(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    create = commands.add_parser(
        'create',
        aliases=['build'],
        parents=[common],
        help='build a database; repeated after an interruption, go on with it',
    )
    create.add_argument('source', help='folder or tar file')
    create.add_argument('output', help='the database, a folder such as train.lmdb')
    create.add_argument(
        '--layout',
        choices=['auto', *LAYOUTS],
        default='auto',
        help='folder: a folder per class; list: paths and labels in a file; tar: a tar file per '
        'class; tree: any tree of images, such as COCO or ADE20K (default: told from the source, '
        'never a tree)',
    )
    create.add_argument(
        '--list', metavar='FILE', help='lines "<path> <class index>", such as val.txt'
    )
    create.add_argument('--classes', metavar='FILE', help='class names in label order, one a line')
    create.add_argument(
        '--all-files', action='store_true', help='tree: take annotation files along'
    )
    create.add_argument(
        '--max-size',
        type=count,
        default=0,
        metavar='PIXELS',
        help='re-encode images whose short edge is longer, and note which; all others, and without '
        'this all, are stored as the files they are',
    )
    create.add_argument(
        '--decode', action='store_true', help='decode every image fully to check it (slower)'
    )
    create.add_argument('--limit', type=count, metavar='N', help='only N images, evenly spread')
    create.add_argument(
        '--shard',
        type=_shard,
        metavar='I/N',
        help='only the I-th of N shares, into OUTPUT-0000I-of-0000N.lmdb: a machine builds each, '
        '`merge` makes one of them, or the data set reads OUTPUT-*-of-0000N as one',
    )
    create.add_argument('--verify', action='store_true', help='check every record when done')
    create.add_argument('--dry-run', action='store_true', help='say what would be built')
    create.add_argument('--overwrite', action='store_true', help='replace a database')
    create.add_argument(
        '--restart', action='store_true', help='throw an interrupted build of it away'
    )


def _add_merge(commands: argparse._SubParsersAction) -> None:
    merge = commands.add_parser(
        'merge',
        help='make one database of several, every record checked; repeated after an interruption, '
        'go on with it',
    )
    merge.add_argument('databases', nargs='+', metavar='DATABASE', help='all shards, in any order')
    merge.add_argument('output', help='the new database')
    merge.add_argument('--quiet', action='store_true', help='no progress bar')
    merge.add_argument('--overwrite', action='store_true', help='replace a database')
    merge.add_argument('--restart', action='store_true', help='throw an interrupted merge away')


def _shard(text: str) -> tuple[int, int]:
    index, slash, total = text.partition('/')
    if not (slash and index.isdecimal() and total.isdecimal() and 1 <= int(index) <= int(total)):
        raise argparse.ArgumentTypeError(f'must be I/N with 1 <= I <= N, such as 3/8, got {text!r}')
    return int(index), int(total)


def run(args: argparse.Namespace) -> int:
    """Does what was asked for; returns 1 if images or records are bad."""
    from mmvmamba.cli import databases

    if args.action is not None:
        return databases.act(args)
    return max(databases.act(_creation(*pair)) for pair in _pairs(args))


def _pairs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Folders and databases that are named without an action."""
    pairs = []
    for split in SPLITS:
        pair = getattr(args, f'{split}_img_dir'), getattr(args, f'{split}_out')
        if None not in pair:
            pairs.append(pair)
        elif pair != (None, None):
            raise UserError(f'--{split}-img-dir DIR and --{split}-out DIR go together')
    if not pairs:
        raise UserError(
            f'give an action, {", ".join(ACTIONS)}; or --train-img-dir DIR and --train-out DIR'
        )
    return pairs


def _creation(source: str, output: str) -> argparse.Namespace:
    """What ``create`` with these two and nothing else is given."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(['create', source, output])

"""Builds LMDB databases from image files, checks them and turns them back into files.

Exit codes: 0 all well, 1 images were bad (they are listed), 2 bad input, or no room on the disk.
"""

import argparse
import sys
from pathlib import Path

from mmvmamba.cli.errors import user_errors
from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.lmdb.maintenance import export_lmdb, verify_lmdb
from mmvmamba.datasets.lmdb.merge import merge_lmdb
from mmvmamba.datasets.lmdb.shards import shard_path
from mmvmamba.datasets.lmdb.sources import LAYOUTS, Listing, list_source
from mmvmamba.datasets.lmdb.writer import (
    BuildOptions,
    BuildReport,
    LMDBWriter,
    default_workers,
    estimate_map_size,
)

EXIT_BAD_IMAGES = 1
SHOWN = 10  # bad images printed; the report file has all

EXAMPLES = """examples:
  %(prog)s create data/imagenet/train data/imagenet/train.lmdb
  %(prog)s create ILSVRC2012_img_val.tar data/imagenet/val.lmdb --list meta/val.txt
  %(prog)s create data/coco data/coco.lmdb --layout tree --all-files
  %(prog)s create imagenet21k train.lmdb --shard 3/8        # on the third of 8 machines
  %(prog)s merge train-*-of-00008.lmdb train.lmdb
  %(prog)s verify data/imagenet/train.lmdb --workers 8
  %(prog)s export data/imagenet/val.lmdb val_again"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    debug = argparse.ArgumentParser(add_help=False)
    debug.add_argument('--debug', action='store_true', help='show the traceback of an error')
    common = argparse.ArgumentParser(add_help=False, parents=[debug])
    common.add_argument(
        '--workers',
        type=_count,
        default=default_workers(),
        metavar='N',
        help='processes that read; 0 for none (default: %(default)s)',
    )
    common.add_argument('--quiet', action='store_true', help='no progress bar')
    commands = parser.add_subparsers(dest='command', required=True)
    _add_create(commands, common)
    _add_merge(commands, debug)
    info = commands.add_parser('info', parents=[debug], help='say what a database holds')
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
    return parser.parse_args(argv)


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
        type=_count,
        default=0,
        metavar='PIXELS',
        help='re-encode images whose short edge is longer, and note which; all others, and without '
        'this all, are stored as the files they are',
    )
    create.add_argument(
        '--decode', action='store_true', help='decode every image fully to check it (slower)'
    )
    create.add_argument('--limit', type=_count, metavar='N', help='only N images, evenly spread')
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


def _add_merge(commands: argparse._SubParsersAction, debug: argparse.ArgumentParser) -> None:
    merge = commands.add_parser(
        'merge',
        parents=[debug],
        help='make one database of several, every record checked; repeated after an interruption, '
        'go on with it',
    )
    merge.add_argument('databases', nargs='+', metavar='DATABASE', help='all shards, in any order')
    merge.add_argument('output', help='the new database')
    merge.add_argument('--quiet', action='store_true', help='no progress bar')
    merge.add_argument('--overwrite', action='store_true', help='replace a database')
    merge.add_argument('--restart', action='store_true', help='throw an interrupted merge away')


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition('/')
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f'must be I/N with 1 <= I <= N, such as 3/8, got {text!r}')
    return int(index), int(count)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'must be 0 or more, got {value}')
    return value


def create(args: argparse.Namespace) -> int:
    classes = Path(args.classes).read_text().split('\n') if args.classes else None
    classes = [name for name in classes if name] if classes else None
    listing = list_source(args.source, args.layout, args.list, classes, args.all_files)
    if args.limit:
        listing = listing.spread(args.limit)
    output = args.output
    if args.shard:
        listing = listing.share(*args.shard)
        output = str(shard_path(output, *args.shard))
    if args.dry_run:
        _describe(listing, output)
        return 0
    options = BuildOptions(
        workers=args.workers,
        max_size=args.max_size,
        decode=args.decode,
        overwrite=args.overwrite,
        restart=args.restart,
        progress=not args.quiet,
    )
    report = LMDBWriter(listing, output, options).run()
    code = _tell(report)
    if args.verify:
        code = max(code, _verify(output, args.workers, False, not args.quiet))
    return code


def merge(args: argparse.Namespace) -> int:
    options = BuildOptions(overwrite=args.overwrite, restart=args.restart, progress=not args.quiet)
    return _tell(merge_lmdb(args.databases, args.output, options))


def _describe(listing: Listing, output: str) -> None:
    num_bytes = listing.estimate_bytes()
    print(f'layout:       {listing.layout}')
    print(f'images:       {len(listing)} (first key: {listing.keys[0]})')
    print(f'classes:      {listing.num_classes}')
    print(f'bytes, about: {num_bytes} (map: {estimate_map_size(num_bytes, len(listing))})')
    print(f'nothing written to {output}')


def _tell(report: BuildReport) -> int:
    header = report.header
    if report.resumed_at:
        print(f'went on behind the first {report.resumed_at} images of an interrupted build')
    print(f'{report.path}: {header.num_records} images, {header.num_bytes} bytes')
    if header.num_resized:
        print(f'{header.num_resized} were re-encoded to a short edge of {header.max_size}')
    path = Path(f'{report.path}.unreadable.txt')
    path.unlink(missing_ok=True)
    if not report.skipped:
        return 0
    path.write_text(
        ''.join(f'{key}\t{reason}\n' for key, reason in report.skipped), errors='surrogateescape'
    )
    print(f'{len(report.skipped)} images cannot be read and were left out; see {path}')
    _show(report.skipped)
    return EXIT_BAD_IMAGES


def _show(defects: list[tuple[str, str]]) -> None:
    for key, reason in defects[:SHOWN]:
        print(f'  {key or "(index)"}: {reason}')
    if len(defects) > SHOWN:
        print(f'  and {len(defects) - SHOWN} more')


def _verify(database: str, workers: int, decode: bool, progress: bool) -> int:
    defects = verify_lmdb(database, workers, decode, progress)
    if not defects:
        print(f'{database}: every record is what was stored')
        return 0
    print(f'{database}: {len(defects)} bad records; build the database again from the source')
    _show(defects)
    return EXIT_BAD_IMAGES


def verify(args: argparse.Namespace) -> int:
    return _verify(args.database, args.workers, args.decode, not args.quiet)


def export(args: argparse.Namespace) -> int:
    defects = export_lmdb(
        args.database, args.folder, args.list, args.workers, args.overwrite, not args.quiet
    )
    print(f'{args.folder}: {len(LMDBReader(args.database)) - len(defects)} files')
    if defects:
        print(f'{len(defects)} bad records were not written')
        _show(defects)
    return EXIT_BAD_IMAGES if defects else 0


def info(args: argparse.Namespace) -> int:
    reader = LMDBReader(args.database)
    header = reader.header
    if header is None:
        print(f'{args.database}: {len(reader)} records of another layout')
        print(f'first key: {next(reader.sample_keys())}')
        return 0
    if args.json:
        print(header.dumps().decode())
        return 0
    for name, value in vars(header).items():
        print(f'{name + ":":13} {value}')
    if reader.shard is not None:
        print(f'{"shard:":13} {reader.shard.index} of {reader.shard.count}')
    classes = reader.classes
    if classes is not None:
        print(f'{"classes:":13} {", ".join(classes[:5])}{", ..." if len(classes) > 5 else ""}')
    print(f'{"first key:":13} {reader.sample(0)[0]}')
    _show([tuple(item) for item in reader.skipped])
    return 0


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    command = dict(
        create=create, build=create, merge=merge, info=info, verify=verify, export=export
    )
    with user_errors(args.debug):
        return command[args.command](args)


if __name__ == '__main__':
    sys.exit(main())

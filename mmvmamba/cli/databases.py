"""Databases from image files and back: ``mmvmamba data lmdb``."""

import argparse
from pathlib import Path

from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.lmdb.maintenance import export_lmdb, verify_lmdb
from mmvmamba.datasets.lmdb.merge import merge_lmdb
from mmvmamba.datasets.lmdb.shards import shard_path
from mmvmamba.datasets.lmdb.sources import Listing, list_source
from mmvmamba.datasets.lmdb.writer import (
    BuildOptions,
    BuildReport,
    LMDBWriter,
    default_workers,
    estimate_map_size,
)

from .errors import EXIT_FOUND

__all__ = ['act']

SHOWN = 10  # bad images printed; the report file has all


def act(args: argparse.Namespace) -> int:
    """Does what the arguments of ``mmvmamba data lmdb`` say.

    Returns:
        1 if images or records are bad, otherwise 0.
    """
    if getattr(args, 'workers', 0) is None:
        args.workers = default_workers()
    return _ACTIONS[args.action](args)


def _create(args: argparse.Namespace) -> int:
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


def _merge(args: argparse.Namespace) -> int:
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
    return EXIT_FOUND


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
    return EXIT_FOUND


def _verify_database(args: argparse.Namespace) -> int:
    return _verify(args.database, args.workers, args.decode, not args.quiet)


def _export(args: argparse.Namespace) -> int:
    defects = export_lmdb(
        args.database, args.folder, args.list, args.workers, args.overwrite, not args.quiet
    )
    print(f'{args.folder}: {len(LMDBReader(args.database)) - len(defects)} files')
    if defects:
        print(f'{len(defects)} bad records were not written')
        _show(defects)
    return EXIT_FOUND if defects else 0


def _info(args: argparse.Namespace) -> int:
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
    _show([(key, reason) for key, reason in reader.skipped])
    return 0


_ACTIONS = dict(
    create=_create, build=_create, merge=_merge, info=_info, verify=_verify_database, export=_export
)

"""Builds an LMDB database: reader processes, one writer, and a state that survives being killed."""

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
from mmengine.logging import print_log

from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.progress import progress_bar
from mmvmamba.files import hold_lock, put_in_place, sync_folder
from mmvmamba.version import __version__

from .format import (
    CHECKSUM_DTYPE,
    END_DTYPE,
    LABEL_DTYPE,
    SIZE_DTYPE,
    Header,
    encode_key,
    manifest,
    meta_key,
    parse_json,
)
from .loading import LoadedImage, load_images
from .options import BuildOptions, BuildReport, default_workers
from .pages import check_pages
from .reader import close_environments, find_database
from .sources import Listing, list_source

__all__ = [
    'BuildOptions',
    'BuildReport',
    'LMDBWriter',
    'create_lmdb',
    'default_workers',
    'estimate_map_size',
]

BATCH_ROW = np.dtype(
    [
        ('index', '<u8'),
        ('size', '<u8'),
        ('sha256', 'V32'),
        ('checksum', CHECKSUM_DTYPE),
        ('resized', '?'),
    ]
)
BATCH, STATE, HEADER = meta_key('batch/'), meta_key('state'), meta_key('header')
SKIPPED = meta_key('unread/')
PAGE = 4096
EMPTY_BYTES = 2 * PAGE  # of a database that has nothing: its meta pages
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
SPARE_BYTES = 64 << 20
LOCK_SECONDS = 2


def estimate_map_size(num_bytes: int, num_images: int) -> int:
    """Bytes that a database takes: the images in whole pages, the index, and room for the tree."""
    return int(1.02 * num_bytes) + num_images * (PAGE + 512) + SPARE_BYTES


def create_lmdb(
    source: str | os.PathLike,
    output: str | os.PathLike,
    layout: str = 'auto',
    list_file: str | os.PathLike | None = None,
    classes: list[str] | None = None,
    options: BuildOptions | None = None,
) -> BuildReport:
    """Builds a database from image files.

    Args:
        source: Folder or tar file.
        output: Folder of the database, ``<name>.lmdb``.
        layout: See `list_source`.
        list_file: See `list_source`.
        classes: See `list_source`.
        options: How to build it.
    """
    return LMDBWriter(list_source(source, layout, list_file, classes), output, options).run()


class LMDBWriter:
    """Writes a listing into ``<output>.partial`` and renames it to ``<output>`` once it is whole.

    Run again after an interruption, it goes on behind the last transaction.

    Args:
        listing: The images.
        output: Folder of the database.
        options: How to build it.
    """

    def __init__(
        self, listing: Listing, output: str | os.PathLike, options: BuildOptions | None = None
    ) -> None:
        self.listing = listing
        self.output = Path(output)
        self.options = options or BuildOptions()
        self.partial = self.output.with_name(self.output.name + '.partial')
        if self.options.max_size and listing.layout == 'tree':
            raise ValueError(
                "max_size is for classification, got layout 'tree': boxes and masks would not fit"
            )

    def run(self) -> BuildReport:
        """Builds the database.

        Raises:
            LMDBDataError: If the output is there, another process is building it, an interrupted
                build was one of other images or options, the disk is full, or not a single image
                could be read.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._exclusive():
                self._look_at_output()
                if self.options.restart:
                    shutil.rmtree(self.partial, ignore_errors=True)
                self.partial.mkdir(exist_ok=True)
                return self._build()
        except lmdb.Error as error:
            raise self._unwritable(error) from error
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise self._unwritable(error) from error

    def _build(self) -> BuildReport:
        map_size = self._room()
        data = self.partial / 'data.mdb'
        if data.exists() and data.stat().st_size < EMPTY_BYTES:
            data.unlink()  # stopped before there was anything in it
        elif data.exists():
            check_pages(data)
        # One process writes and none reads, which `_exclusive` sees to.
        env = lmdb.open(
            str(self.partial), map_size=map_size, metasync=False, max_spare_txns=1, lock=False
        )
        try:
            done = self._resume(env)
            # A build may have been stopped between its last transaction and the renaming.
            if not self._is_finished(env):
                self._growing(env, self._copy)
                self._growing(env, self._finish)
            report = self._report(env, done)
            file_size = (env.info()['last_pgno'] + 1) * env.stat()['psize']
        finally:
            env.close()
        if data.stat().st_size < file_size:
            # LMDB may leave the last, free pages unwritten; readers take that for a cut file.
            os.truncate(data, file_size)
        check_pages(data)
        self._publish(data)
        return report

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        lock = self.output.with_name(f'{self.output.name}.lock')
        with ExitStack() as stack:
            try:
                # The readers of a killed build hold its lock for the moment that they take to end.
                stack.enter_context(hold_lock(lock, LOCK_SECONDS))
            except BlockingIOError as error:
                raise LMDBDataError(
                    f'another process is building this database: {error}',
                    path=str(self.output),
                    remedy='Wait for it, or stop it.',
                ) from error
            yield

    def _look_at_output(self) -> None:
        if not self.output.exists():
            return
        if not self.options.overwrite:
            raise LMDBDataError(
                'the database is already there',
                path=str(self.output),
                remedy='Pass --overwrite to replace it, or name another.',
            )
        if find_database(str(self.output)) is None:
            raise LMDBDataError(
                'what is there is no database, which alone would be replaced',
                path=str(self.output),
                remedy='Name another, or remove it.',
            )

    def _room(self) -> int:
        map_size = estimate_map_size(self._estimate_bytes(), len(self.listing))
        file = find_database(str(self.partial))
        present = os.path.getsize(file) if file else 0
        free = shutil.disk_usage(self.partial).free + present
        if map_size - SPARE_BYTES > free:
            raise LMDBDataError(
                f'about {map_size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free',
                path=str(self.output),
                remedy='Free some space or build on another disk.',
            )
        return max(map_size, present + SPARE_BYTES)

    def _fingerprint(self) -> str:
        """Identifies the images and everything that decides what is stored of them."""
        return self.listing.digest(self.options.max_size, self.options.decode)

    def _images(self, start: int) -> Generator[LoadedImage, None, None]:
        """The images from a place of the listing on."""
        options = self.options
        return load_images(self.listing, start, options.workers, options.max_size, options.decode)

    def _skipped(self) -> list[list[str]]:
        """Key and reason of each image that is known beforehand to be unreadable."""
        return []

    def _estimate_bytes(self) -> int:
        """Size of all images together."""
        return self.listing.estimate_bytes()

    def _resume(self, env: lmdb.Environment) -> int:
        with env.begin() as txn:
            stored = txn.get(STATE)
        if stored is None:
            return 0
        state = parse_json(stored, 'state', dict, str(self.partial))
        if state['fingerprint'] != self._fingerprint():
            raise LMDBDataError(
                'an interrupted build of other images or options is there',
                path=str(self.partial),
                remedy='Pass --restart to throw it away, or repeat the command that began it.',
            )
        return state['done']

    @staticmethod
    def _is_finished(env: lmdb.Environment) -> bool:
        with env.begin() as txn:
            return txn.get(HEADER) is not None

    def _copy(self, env: lmdb.Environment) -> None:
        """Stores the images that are not there yet, a transaction for every ``batch_bytes``."""
        done = self._resume(env)
        fingerprint = self._fingerprint()
        images = self._images(done)
        bar = progress_bar(
            len(self.listing), 'image', self.output.name, self.options.progress, initial=done
        )
        with bar, closing(images):
            while done < len(self.listing):
                with env.begin(write=True) as txn:
                    count = self._copy_batch(txn, images)
                    done += count
                    state = {'fingerprint': fingerprint, 'done': done}
                    txn.put(STATE, json.dumps(state).encode())
                bar.update(count)

    def _copy_batch(self, txn: lmdb.Transaction, images: Iterator[LoadedImage]) -> int:
        """Stores images until a batch is full, and what `_finish` needs to know of them."""
        rows, bad = [], []
        count = num_bytes = 0
        for image in images:
            key = self.listing.keys[image.index]
            if image.defect:
                bad.append([key, image.defect])
            else:
                txn.put(encode_key(key), image.data)
                rows.append(
                    (image.index, len(image.data), image.digest, image.checksum, image.resized)
                )
            count += 1
            num_bytes += len(image.data)
            if num_bytes >= self.options.batch_bytes or count >= self.options.batch_images:
                break
        # Twelve digits keep the batches in order.
        place = b'%012d' % image.index
        txn.put(BATCH + place, np.array(rows, BATCH_ROW).tobytes())
        txn.put(SKIPPED + place, json.dumps(bad).encode())
        return count

    def _growing(self, env: lmdb.Environment, write: Callable[[lmdb.Environment], None]) -> None:
        """Calls ``write``, again with a larger map each time that the map is full."""
        while True:
            try:
                return write(env)
            except lmdb.MapFullError:
                size = env.info()['map_size']
                grown = math.ceil((1.5 * size + (16 << 20)) / PAGE) * PAGE
                env.set_mapsize(grown)
                print_log(f'{self.output}: the map grows from {size} to {grown} bytes', 'current')

    def _unwritable(self, error: Exception) -> LMDBDataError:
        free = shutil.disk_usage(self.output.parent).free
        return LMDBDataError(
            f'the database cannot be written ({error}); {free / 1e6:.0f} MB are free',
            path=str(self.output),
            remedy='Free some space and run the same command again: it goes on where it stopped. '
            f'Or remove {self.partial}, which has what is done.',
        )

    def _finish(self, env: lmdb.Environment) -> None:
        """Turns what the batches noted into tables, and writes them with the header."""
        with env.begin() as txn:
            rows = np.frombuffer(b''.join(_values_below(txn, BATCH)), BATCH_ROW)
            skipped = self._skipped()
            skipped += [item for v in _values_below(txn, SKIPPED) for item in json.loads(v)]
        if len(rows) == 0:
            raise LMDBDataError(
                f'none of the {len(self.listing)} images could be read; the first: {skipped[0][1]}',
                path=str(self.output),
                key=skipped[0][0],
                remedy='Look at one of the files in an image viewer.',
            )
        tables = self._tables(rows, skipped)
        header = Header(
            layout=self.listing.layout,
            num_records=len(rows),
            num_classes=self.listing.num_classes,
            num_bytes=int(rows['size'].sum()),
            manifest='',
            max_size=self.options.max_size,
            num_resized=int(rows['resized'].sum()),
            num_skipped=len(skipped),
            creator=f'mmvmamba {__version__}',
        )
        header = replace(header, manifest=manifest(tables, header))
        with env.begin(write=True) as txn:
            for name, value in tables.items():
                txn.put(meta_key(name), value)
            _delete_below(txn, BATCH)
            _delete_below(txn, SKIPPED)
            txn.put(HEADER, header.dumps())
        env.sync(True)

    def _tables(self, rows: np.ndarray, skipped: list[list[str]]) -> dict[str, bytes]:
        listing = self.listing
        indices = rows['index']
        keys = [encode_key(listing.keys[i]) for i in indices.tolist()]
        tables = {
            'keys': b''.join(keys),
            'key_ends': np.cumsum([len(key) for key in keys], dtype=END_DTYPE).tobytes(),
            'sizes': rows['size'].astype(SIZE_DTYPE).tobytes(),
            'sha256': rows['sha256'].tobytes(),
            'resized': np.flatnonzero(rows['resized']).astype(END_DTYPE).tobytes(),
            'skipped': json.dumps(skipped).encode(),
            'checksums': np.sort(rows['checksum']).tobytes(),
        }
        if listing.classes is not None:
            tables['classes'] = json.dumps(listing.classes).encode()
        if listing.labels is not None:
            tables['labels'] = np.asarray(listing.labels, LABEL_DTYPE)[indices].tobytes()
        if listing.shard is not None:
            tables['shard'] = listing.shard.dumps()
        return tables

    def _report(self, env: lmdb.Environment, resumed_at: int) -> BuildReport:
        with env.begin() as txn:
            header = Header.loads(txn.get(HEADER, b''), str(self.output))
            skipped = [tuple(item) for item in json.loads(txn.get(meta_key('skipped'), b''))]
        return BuildReport(str(self.output), header, skipped, resumed_at)

    def _publish(self, data: Path) -> None:
        """Gives the finished build its name, in one step; until then nothing bears it."""
        for name in ('lock.mdb', 'build.lock'):  # what earlier versions left there
            (self.partial / name).unlink(missing_ok=True)
        old = find_database(str(self.output))
        if old is None:
            self.partial.rename(self.output)
            sync_folder(self.output.parent)
            return
        # This process's readers open the new file at their next use.
        close_environments()
        put_in_place(data, old)
        self.partial.rmdir()


def _values_below(txn: lmdb.Transaction, prefix: bytes) -> Iterator[bytes]:
    with txn.cursor() as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            yield cursor.value()
            found = cursor.next()


def _delete_below(txn: lmdb.Transaction, prefix: bytes) -> None:
    with txn.cursor() as cursor:
        while cursor.set_range(prefix) and bytes(cursor.key()).startswith(prefix):
            cursor.delete()

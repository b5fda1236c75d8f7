"""Builds an LMDB database: reader processes, one writer, and a state that survives being killed."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import lmdb
import numpy as np
from mmengine.logging import print_log
from tqdm import tqdm

from mmvmamba.datasets.errors import (
    DatabaseExistsError,
    DatabaseIncompleteError,
    DiskFullError,
    SourceError,
)
from mmvmamba.version import __version__

from .format import (
    END_DTYPE,
    LABEL_DTYPE,
    SIZE_DTYPE,
    Header,
    encode_key,
    meta_key,
)
from .loading import LoadedImage, load_images
from .reader import close_environments, find_database
from .sources import Listing, list_source

try:
    import fcntl
except ImportError:  # Windows: nothing keeps a second build of the same database out.
    fcntl = None

__all__ = [
    'TABLES',
    'BuildOptions',
    'BuildReport',
    'LMDBWriter',
    'create_lmdb',
    'default_workers',
    'estimate_map_size',
    'manifest',
]

# In the order in which the manifest covers them.
TABLES = ('classes', 'keys', 'key_ends', 'labels', 'sizes', 'sha256', 'resized', 'skipped')
BATCH_ROW = np.dtype([('index', '<u8'), ('size', '<u8'), ('sha256', 'V32'), ('resized', '?')])
BATCH, STATE, HEADER = meta_key('batch/'), meta_key('state'), meta_key('header')
SKIPPED = meta_key('unread/')
PAGE = 4096
SPARE_BYTES = 64 << 20
LOCK_SECONDS = 2


def default_workers() -> int:
    """Reader processes that build fastest: one for each core beside the writer's, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return min(8, (cores or 1) - 1)


@dataclass(frozen=True)
class BuildOptions:
    """How a database is built.

    Args:
        workers: Reader processes; 0 reads in the writer's own process. By default one for each core
            that the writer leaves free, 8 at most.
        max_size: Images with a longer short edge are re-encoded to it; 0 stores every file as is.
        decode: Whether to decode each image fully, not just its header and end.
        batch_bytes: Bytes of one transaction.
        batch_images: Images of one transaction, at most.
        overwrite: Whether a database that is already there may be replaced.
        restart: Whether to throw an interrupted build away instead of going on with it.
        progress: Whether to show a progress bar.
    """

    workers: int = field(default_factory=default_workers)
    max_size: int = 0
    decode: bool = False
    batch_bytes: int = 16 << 20
    batch_images: int = 2000
    overwrite: bool = False
    restart: bool = False
    progress: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What came of a build.

    Args:
        path: The database.
        header: Its header.
        skipped: Key and reason of each image that could not be read.
        resumed_at: Number of images that an earlier, interrupted run had done.
    """

    path: str
    header: Header
    skipped: list[tuple[str, str]] = field(default_factory=list)
    resumed_at: int = 0


def estimate_map_size(num_bytes: int, num_images: int) -> int:
    """Bytes that a database takes: the images in whole pages, the index, and room for the tree."""
    return int(1.02 * num_bytes) + num_images * (PAGE + 512) + SPARE_BYTES


def manifest(tables: dict[str, bytes]) -> str:
    """SHA-256 over the names, lengths and bytes of the tables."""
    digest = hashlib.sha256()
    for name in TABLES:
        if name in tables:
            digest.update(f'{name}:{len(tables[name])}:'.encode())
            digest.update(tables[name])
    return digest.hexdigest()


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
            DatabaseExistsError: If the output is there, or another process is building it.
            DatabaseIncompleteError: If an interrupted build was one of other images or options.
            DiskFullError: If the database does not fit.
            SourceError: If not a single image could be read.
        """
        if self.output.exists() and not self.options.overwrite:
            raise DatabaseExistsError(
                'the database is already there',
                str(self.output),
                '',
                'Pass --overwrite to replace it, or name another.',
            )
        if self.options.restart:
            shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True, exist_ok=True)
        with self._exclusive():
            map_size = self._room()
            env = lmdb.open(str(self.partial), map_size=map_size, metasync=False, max_spare_txns=1)
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
            self._publish(file_size)
        return report

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with open(self.partial / 'build.lock', 'w') as file:
            # The readers of a killed build hold its lock for the moment that they take to end.
            deadline = time.monotonic() + LOCK_SECONDS
            while not _try_lock(file):
                if time.monotonic() > deadline:
                    raise DatabaseExistsError(
                        'another process is building this database',
                        str(self.output),
                        '',
                        'Wait for it, or stop it.',
                    )
                time.sleep(0.05)
            yield

    def _room(self) -> int:
        map_size = estimate_map_size(self.listing.estimate_bytes(), len(self.listing))
        file = find_database(str(self.partial))
        present = os.path.getsize(file) if file else 0
        free = shutil.disk_usage(self.partial).free + present
        if map_size - SPARE_BYTES > free:
            raise DiskFullError(
                f'about {map_size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free',
                str(self.output),
                '',
                'Free some space or build on another disk.',
            )
        return max(map_size, present + SPARE_BYTES)

    def _fingerprint(self) -> str:
        """Identifies the images and everything that decides what is stored of them."""
        digest = hashlib.sha256(
            json.dumps(
                [
                    self.listing.layout,
                    self.listing.classes,
                    self.options.max_size,
                    self.options.decode,
                ]
            ).encode()
        )
        for key in self.listing.keys:
            digest.update(encode_key(key) + b'\n')
        if self.listing.labels is not None:
            digest.update(np.asarray(self.listing.labels, LABEL_DTYPE).tobytes())
        return digest.hexdigest()

    def _resume(self, env: lmdb.Environment) -> int:
        with env.begin() as txn:
            stored = txn.get(STATE)
        if stored is None:
            return 0
        stored = json.loads(stored)
        if stored['fingerprint'] != self._fingerprint():
            raise DatabaseIncompleteError(
                'an interrupted build of other images or options is there',
                str(self.partial),
                '',
                'Pass --restart to throw it away, or repeat the command that began it.',
            )
        return stored['done']

    @staticmethod
    def _is_finished(env: lmdb.Environment) -> bool:
        with env.begin() as txn:
            return txn.get(HEADER) is not None

    def _copy(self, env: lmdb.Environment) -> None:
        """Stores the images that are not there yet, a transaction for every ``batch_bytes``."""
        options = self.options
        done = self._resume(env)
        fingerprint = self._fingerprint()
        images = load_images(self.listing, done, options.workers, options.max_size, options.decode)
        bar = tqdm(
            total=len(self.listing),
            initial=done,
            unit='img',
            desc=self.output.name,
            disable=not options.progress,
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
                rows.append((image.index, len(image.data), image.digest, image.resized))
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
            except lmdb.Error as error:
                if 'No space left' not in str(error) and not isinstance(error, lmdb.DiskError):
                    raise
                raise self._disk_full(error) from error

    def _disk_full(self, error: Exception) -> DiskFullError:
        return DiskFullError(
            f'a transaction could not be written ({error})',
            str(self.output),
            '',
            'Free some space and run the same command again: it goes on where it stopped.',
        )

    def _finish(self, env: lmdb.Environment) -> None:
        """Turns what the batches noted into tables, and writes them with the header."""
        with env.begin() as txn:
            rows = np.frombuffer(b''.join(_values_below(txn, BATCH)), BATCH_ROW)
            skipped = [item for v in _values_below(txn, SKIPPED) for item in json.loads(v)]
        if len(rows) == 0:
            raise SourceError(
                f'none of the {len(self.listing)} images could be read; the first: {skipped[0][1]}',
                str(self.output),
                skipped[0][0],
                'Look at one of the files in an image viewer.',
            )
        tables = self._tables(rows, skipped)
        header = Header(
            layout=self.listing.layout,
            num_records=len(rows),
            num_classes=self.listing.num_classes,
            num_bytes=int(rows['size'].sum()),
            manifest=manifest(tables),
            max_size=self.options.max_size,
            num_resized=int(rows['resized'].sum()),
            num_skipped=len(skipped),
            creator=f'mmvmamba {__version__}',
        )
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
        }
        if listing.classes is not None:
            tables['classes'] = json.dumps(listing.classes).encode()
        if listing.labels is not None:
            tables['labels'] = np.asarray(listing.labels, LABEL_DTYPE)[indices].tobytes()
        return tables

    def _report(self, env: lmdb.Environment, resumed_at: int) -> BuildReport:
        with env.begin() as txn:
            header = Header.loads(txn.get(HEADER), str(self.output))
            skipped = [tuple(item) for item in json.loads(txn.get(meta_key('skipped')))]
        return BuildReport(str(self.output), header, skipped, resumed_at)

    def _publish(self, file_size: int) -> None:
        """Renames the finished build; until then nothing bears the database's name."""
        data = self.partial / 'data.mdb'
        if data.stat().st_size < file_size:
            # LMDB may leave the last, free pages unwritten; readers take that for a cut file.
            os.truncate(data, file_size)
        for name in ('lock.mdb', 'build.lock'):
            (self.partial / name).unlink(missing_ok=True)
        old = self.output.with_name(self.output.name + '.old')
        if self.output.exists():
            # This process's readers open the new file at their next use.
            close_environments()
            shutil.rmtree(old, ignore_errors=True)
            self.output.rename(old)
        self.partial.rename(self.output)
        shutil.rmtree(old, ignore_errors=True)


def _values_below(txn: lmdb.Transaction, prefix: bytes) -> Iterator[bytes]:
    with txn.cursor() as cursor:
        found = cursor.set_range(prefix)
        while found and cursor.key().startswith(prefix):
            yield cursor.value()
            found = cursor.next()


def _delete_below(txn: lmdb.Transaction, prefix: bytes) -> None:
    with txn.cursor() as cursor:
        while cursor.set_range(prefix) and cursor.key().startswith(prefix):
            cursor.delete()


def _try_lock(file: IO) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

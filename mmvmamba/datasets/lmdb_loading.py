"""Reads, checks and digests source images in worker processes, in order and a bounded way ahead."""

import hashlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from .errors import LMDBDataError
from .image_files import DECODE_ERRORS, find_defect, is_image_name, shrink
from .lmdb_sources import Listing, Location

__all__ = ['LoadedImage', 'end_with_parent', 'load_images']

CHUNK = 16  # images of one task
TASKS_PER_WORKER = 4  # bounds what lies in memory when the disk is slower than the readers

# Place in the listing, location, and whether it must be an image.
Task = tuple[int, Location | None, bool]


@dataclass(frozen=True)
class LoadedImage:
    """One source image.

    Args:
        index: Its place in the listing.
        data: The bytes to store; empty with a defect.
        digest: Their SHA-256.
        resized: Whether they were re-encoded.
        defect: Why it cannot be read, or ''.
    """

    index: int
    data: bytes
    digest: bytes
    resized: bool
    defect: str


def load_images(
    listing: Listing, start: int, workers: int, max_size: int, decode: bool
) -> Iterator[LoadedImage]:
    """Yields the images from ``start`` on, in order.

    Args:
        listing: The images.
        start: Index of the first image.
        workers: Number of processes; 0 for none.
        max_size: Longest allowed short edge; 0 for any.
        decode: Whether to decode each image fully to check it.
    """
    chunks = (
        [_task(listing, i) for i in range(first, min(first + CHUNK, len(listing)))]
        for first in range(start, len(listing), CHUNK)
    )
    if workers == 0:
        for chunk in chunks:
            yield from _load_chunk(chunk, max_size, decode)
        return
    with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
        pending = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_load_chunk, chunk, max_size, decode))
                if len(pending) > TASKS_PER_WORKER * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool as error:
            raise LMDBDataError(
                'a reader process was killed, perhaps for want of memory',
                remedy='Run the same command again, with fewer --workers.',
            ) from error
        finally:
            for future in pending:
                future.cancel()


def end_with_parent() -> None:
    """Makes a worker process end when the process that started it is killed."""
    # A killed writer cannot end its readers, and they would keep its lock and wait for ever.
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _task(listing: Listing, index: int) -> Task:
    # A tree may hold annotations beside its images.
    is_image = listing.layout != 'tree' or is_image_name(listing.keys[index])
    return index, listing.locations[index], is_image


def _load_chunk(chunk: list[Task], max_size: int, decode: bool) -> list[LoadedImage]:
    return [_load(*task, max_size, decode) for task in chunk]


def _load(
    index: int, location: Location | None, is_image: bool, max_size: int, decode: bool
) -> LoadedImage:
    if location is None:
        return LoadedImage(index, b'', b'', False, 'the list names it, the tar file lacks it')
    path, offset, size = location
    try:
        with open(path, 'rb') as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        return LoadedImage(index, b'', b'', False, f'{type(error).__name__}: {error.strerror}')
    smaller = None
    if is_image:
        defect = find_defect(data, decode)
        if not defect and max_size:
            try:
                smaller = shrink(data, max_size)
            except DECODE_ERRORS as error:
                defect = f'{type(error).__name__}: {error}'
        if defect:
            return LoadedImage(index, b'', b'', False, defect)
    stored = data if smaller is None else smaller
    return LoadedImage(index, stored, hashlib.sha256(stored).digest(), smaller is not None, '')

"""Reads, checks and digests source images in worker processes, in order and a bounded way ahead."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from .errors import LMDBDataError
from .image_files import DECODE_ERRORS, find_defect, is_image_name, shrink
from .lmdb_format import DIGEST_BYTES
from .lmdb_sources import Listing

__all__ = ['LoadedImage', 'end_with_parent', 'load_images']

PIPE_BYTES = 1 << 20
# Index, SHA-256, whether resized, and bytes of the defect, which follows, as does the image.
FRAME = struct.Struct(f'<Q{DIGEST_BYTES}s?I')


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
    data: bytes | memoryview
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
    if workers == 0:
        for index in range(start, len(listing)):
            yield _load(listing, index, max_size, decode)
        return
    # Worker w reads every `workers`-th image and sends it down its own pipe. Taking turns at the
    # pipes gives the images in order, and a full pipe makes its worker wait.
    processes, pipes = [], []
    try:
        for worker in range(workers):
            receiver, sender = multiprocessing.Pipe(duplex=False)
            places = range(start + worker, len(listing), workers)
            process = multiprocessing.Process(
                target=_send_images, args=(sender, listing, places, max_size, decode), daemon=True
            )
            process.start()
            sender.close()
            _widen(receiver)
            processes.append(process)
            pipes.append(receiver)
        for index in range(start, len(listing)):
            yield _unpack(pipes[(index - start) % workers].recv_bytes())
    except EOFError as error:
        raise LMDBDataError(
            'a reader process failed or was killed, perhaps for want of memory',
            remedy='Run the same command again, with fewer --workers.',
        ) from error
    finally:
        for process, pipe in zip(processes, pipes, strict=True):
            process.terminate()
            process.join()
            pipe.close()


def _send_images(
    sender: Connection, listing: Listing, places: range, max_size: int, decode: bool
) -> None:
    end_with_parent()
    # Ctrl-C reaches all processes; the writer ends its readers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for index in places:
        sender.send_bytes(_pack(_load(listing, index, max_size, decode)))
    sender.close()


def _pack(image: LoadedImage) -> bytes:
    # A pickle would cost several copies of the image.
    defect = image.defect.encode('utf-8', 'replace')
    head = FRAME.pack(image.index, image.digest, image.resized, len(defect))
    return b''.join((head, defect, image.data))


def _unpack(frame: bytes) -> LoadedImage:
    index, digest, resized, length = FRAME.unpack_from(frame)
    end = FRAME.size + length
    defect = frame[FRAME.size : end].decode()
    return LoadedImage(index, memoryview(frame)[end:], digest, resized, defect)


def _widen(pipe: Connection) -> None:
    # Room for several images lets the readers go on while the writer commits. Systems differ in
    # what they allow; a narrow pipe is as good, only slower.
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def end_with_parent() -> None:
    """Makes a worker process end when the process that started it is killed."""
    # A killed writer cannot end its readers, and they would keep its lock and wait for ever.
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load(listing: Listing, index: int, max_size: int, decode: bool) -> LoadedImage:
    location = listing.locations[index]
    if location is None:
        return _defective(index, 'the list names it, the tar file lacks it')
    path, offset, size = location
    try:
        with open(path, 'rb', buffering=0) as file:
            file.seek(offset)
            data = file.read(size) if size >= 0 else file.readall()
    except OSError as error:
        return _defective(index, f'{type(error).__name__}: {error.strerror}')
    smaller = None
    # A tree may hold annotations beside its images.
    if listing.layout != 'tree' or is_image_name(listing.keys[index]):
        defect = find_defect(data, decode)
        if not defect and max_size:
            try:
                smaller = shrink(data, max_size)
            except DECODE_ERRORS as error:
                defect = f'{type(error).__name__}: {error}'
        if defect:
            return _defective(index, defect)
    stored = data if smaller is None else smaller
    return LoadedImage(index, stored, hashlib.sha256(stored).digest(), smaller is not None, '')


def _defective(index: int, defect: str) -> LoadedImage:
    return LoadedImage(index, b'', bytes(DIGEST_BYTES), False, defect)

"""Reads, checks and digests source images in worker processes, in order and a bounded way ahead."""

import ctypes
import errno
import hashlib
import multiprocessing
import os
import signal
import stat
import struct
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore

from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.image_files import DECODE_ERRORS, find_defect, is_image_name, shrink

from .format import DIGEST_BYTES, checksum, encode_key
from .sources import Listing

__all__ = ['LoadedImage', 'end_with_parent', 'load_images']

# Each reader process shares so many places of this size with the writer, enough to read on while
# the writer commits. Memory is taken up where images are; a larger image goes through the pipe.
SLOTS = 32
SLOT_BYTES = 1 << 19
# Index, SHA-256, checksum, whether resized, bytes of the defect, and bytes of the image in the
# shared memory, -1 if the image follows. The text of the defect comes last.
FRAME = struct.Struct(f'<Q{DIGEST_BYTES}sQ?Iq')
VALUE_LIMIT = (1 << 32) - 1  # LMDB's


@dataclass(frozen=True)
class LoadedImage:
    """One source image.

    Args:
        index: Its place in the listing.
        data: The bytes to store, to be used before the next image is asked for; empty with a
            defect.
        digest: Their SHA-256.
        checksum: That of the format, of the key and the bytes.
        resized: Whether they were re-encoded.
        defect: Why it cannot be read, or ''.
    """

    index: int
    data: bytes | memoryview
    digest: bytes
    checksum: int
    resized: bool
    defect: str


def load_images(
    listing: Listing, start: int, workers: int, max_size: int, decode: bool
) -> Generator[LoadedImage, None, None]:
    """Yields the images from ``start`` on, in order.

    Args:
        listing: The images.
        start: Index of the first image.
        workers: Number of processes; 0 for none.
        max_size: Longest allowed short edge; 0 for any.
        decode: Whether to decode each image fully to check it.
    """
    if workers == 0:
        buffer = memoryview(bytearray(SLOT_BYTES))
        for index in range(start, len(listing)):
            yield _load(listing, index, max_size, decode, buffer)
        return
    # Worker w reads every `workers`-th image. Taking turns gives the images in order.
    readers = []
    try:
        for worker in range(workers):
            places = range(start + worker, len(listing), workers)
            readers.append(_Reader(listing, places, max_size, decode))
        for index in range(start, len(listing)):
            yield from readers[(index - start) % workers].next_image()
    except EOFError as error:
        raise LMDBDataError(
            'a reader process failed or was killed, perhaps for want of memory',
            remedy='Run the same command again, with fewer --workers.',
        ) from error
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    """A process that reads images into memory it shares with this one.

    Pixels through a pipe would be copied four times and cost more than reading them here.
    """

    def __init__(self, listing: Listing, places: range, max_size: int, decode: bool) -> None:
        memory = multiprocessing.RawArray(ctypes.c_ubyte, SLOTS * SLOT_BYTES)
        self.slots = _slots(memory)
        self.free = multiprocessing.Semaphore(SLOTS)
        self.pipe, sender = multiprocessing.Pipe(duplex=False)
        self.count = 0
        self.process = multiprocessing.Process(
            target=_send_images,
            args=(sender, memory, self.free, listing, places, max_size, decode),
            daemon=True,
        )
        self.process.start()
        sender.close()

    def next_image(self) -> Iterator[LoadedImage]:
        """Yields one image, and gives its place back when the caller is done with it."""
        frame = self.pipe.recv_bytes()
        index, digest, check, resized, length, size = FRAME.unpack_from(frame)
        defect = frame[FRAME.size : FRAME.size + length].decode()
        data = self.slots[self.count % SLOTS][:size] if size >= 0 else self.pipe.recv_bytes()
        yield LoadedImage(index, data, digest, check, resized, defect)
        self.count += 1
        self.free.release()

    def close(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _slots(memory: ctypes.Array) -> list[memoryview]:
    view = memoryview(memory).cast('B')
    return [view[i * SLOT_BYTES : (i + 1) * SLOT_BYTES] for i in range(SLOTS)]


def _send_images(
    sender: Connection,
    memory: ctypes.Array,
    free: Semaphore,
    listing: Listing,
    places: range,
    max_size: int,
    decode: bool,
) -> None:
    end_with_parent()
    # Ctrl-C reaches all processes; the writer ends its readers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    slots = _slots(memory)
    for count, index in enumerate(places):
        free.acquire()
        slot = slots[count % SLOTS]
        image = _load(listing, index, max_size, decode, slot)
        size = len(image.data)
        if image.resized and size <= SLOT_BYTES:
            slot[:size] = image.data
        is_shared = size <= SLOT_BYTES
        defect = image.defect.encode('utf-8', 'replace')
        head = FRAME.pack(
            index,
            image.digest,
            image.checksum,
            image.resized,
            len(defect),
            size if is_shared else -1,
        )
        sender.send_bytes(head + defect)
        if not is_shared:
            sender.send_bytes(image.data)
    sender.close()


def end_with_parent() -> None:
    """Makes a worker process end when the process that started it is killed."""
    # A killed writer cannot end its readers, and they would keep its lock and wait for ever.
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load(
    listing: Listing, index: int, max_size: int, decode: bool, buffer: memoryview
) -> LoadedImage:
    """Reads an image, into the buffer if it is large enough."""
    location = listing.locations[index]
    if location is None:
        return _defective(index, 'the list names it, the tar file lacks it')
    try:
        data = _read(*location, buffer)
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
    digest = hashlib.sha256(stored).digest()
    check = checksum(encode_key(listing.keys[index]), stored)
    return LoadedImage(index, stored, digest, check, smaller is not None, '')


def _read(path: str, offset: int, size: int, buffer: memoryview) -> memoryview:
    with open(path, 'rb', buffering=0, opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, 'it is not a regular file')
        size = status.st_size if size < 0 else size
        if size > VALUE_LIMIT:
            raise OSError(errno.EFBIG, f'a record may have {VALUE_LIMIT} bytes, got {size}')
        file.seek(offset)
        data = buffer[:size] if size <= len(buffer) else memoryview(bytearray(size))
        filled = 0
        while filled < size:
            count = file.readinto(data[filled:])
            if not count:
                raise OSError(errno.EIO, f'the file ends {size - filled} bytes too early')
            filled += count
        return data


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file; a named pipe too, without waiting for a writer."""
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def _defective(index: int, defect: str) -> LoadedImage:
    return LoadedImage(index, b'', bytes(DIGEST_BYTES), 0, False, defect)

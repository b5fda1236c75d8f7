"""Checks a database record by record, and turns it back into files."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from mmvmamba.datasets.errors import KeyMissingError, LMDBDataError
from mmvmamba.datasets.image_files import find_defect, is_image_name
from mmvmamba.datasets.progress import progress_bar
from mmvmamba.files import put_in_place

from .format import encode_key
from .loading import end_with_parent
from .reader import LMDBReader

__all__ = ['export_lmdb', 'verify_lmdb']

CHUNK = 16  # records of one task
TASKS_PER_WORKER = 4  # bounds what waits in memory

# Key, and the expected size and SHA-256 where the database knows them.
Task = tuple[str, int, bytes]


def verify_lmdb(
    path: str | os.PathLike, workers: int = 0, decode: bool = False, progress: bool = False
) -> list[tuple[str, str]]:
    """Reads every record again and compares it with the manifest.

    Args:
        path: The database. One that is not of our layout is checked for readable images.
        workers: Processes that read; 0 for none.
        decode: Whether to decode every image as well.
        progress: Whether to show a progress bar.

    Returns:
        Key and defect of each bad record.

    Raises:
        LMDBDataError: If the pages of the file or the tables of the index are broken.
    """
    reader = LMDBReader(path)
    # Opening it checked the index itself.
    if reader.header is None:
        decode = True
        defects = []
    else:
        listed = set(reader.sample_keys())
        # Records that are missing are found one by one.
        defects = [(key, 'not in the index') for key in reader.stored_keys() if key not in listed]
    return defects + _each(_verify_chunk, (reader, decode), workers, progress)


def export_lmdb(
    path: str | os.PathLike,
    output: str | os.PathLike,
    list_file: str | os.PathLike | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> list[tuple[str, str]]:
    """Writes the records to files, each below ``output`` at the path that is its key.

    Args:
        path: The database.
        output: Folder for the files.
        list_file: File for lines of key and label, if wanted.
        workers: Processes that write; 0 for none.
        overwrite: Whether ``output`` may have files already.
        progress: Whether to show a progress bar.

    Returns:
        Key and defect of each record that was not written: it is not what was stored, or its key
        would lead out of the folder, or through a symbolic link that was in it.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise LMDBDataError('a folder is needed, this is a file', path=str(output))
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise LMDBDataError(
            'the folder is not empty',
            path=str(output),
            remedy='Pass --overwrite, or name another.',
        )
    reader = LMDBReader(path)
    output.mkdir(parents=True, exist_ok=True)
    defects = _each(_export_chunk, (reader, output), workers, progress)
    if list_file is not None:
        _write_list(Path(list_file), reader, {key for key, _ in defects})
    return defects


def _write_list(path: Path, reader: LMDBReader, left_out: set[str]) -> None:
    labels = reader.labels()
    part = path.with_name(f'{path.name}.part')
    try:
        with open(part, 'w', encoding='utf-8', errors='surrogateescape') as file:
            for i, key in enumerate(reader.sample_keys()):
                if key not in left_out:
                    file.write(f'{key}\n' if labels is None else f'{key} {labels[i]}\n')
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def _each(
    function: Callable, arguments: tuple, workers: int, progress: bool
) -> list[tuple[str, str]]:
    """Calls a function with its arguments, of which the first is the reader, and every chunk."""
    reader = arguments[0]
    chunks = _chunks(reader)
    with progress_bar(len(reader), 'image', shown=progress) as bar:
        if workers == 0:
            return [
                defect
                for chunk in chunks
                for defect in _counted(function(*arguments, chunk), len(chunk), bar)
            ]
        try:
            with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
                return list(_submit(pool, function, arguments, chunks, workers, bar))
        except BrokenProcessPool as error:
            raise LMDBDataError(
                'a process that read was killed, perhaps for want of memory or by a broken disk',
                path=reader.path,
                remedy='Run the same command again, with fewer --workers.',
            ) from error


def _submit(
    pool: ProcessPoolExecutor,
    function: Callable,
    arguments: tuple,
    chunks: Iterator[list[Task]],
    workers: int,
    bar: tqdm,
) -> Iterator[tuple[str, str]]:
    pending: deque[tuple[Future, int]] = deque()
    for chunk in chunks:
        pending.append((pool.submit(function, *arguments, chunk), len(chunk)))
        if len(pending) > TASKS_PER_WORKER * workers:
            future, count = pending.popleft()
            yield from _counted(future.result(), count, bar)
    for future, count in pending:
        yield from _counted(future.result(), count, bar)


def _counted(defects: list[tuple[str, str]], count: int, bar: tqdm) -> list[tuple[str, str]]:
    bar.update(count)
    return defects


def _chunks(reader: LMDBReader) -> Iterator[list[Task]]:
    has_manifest = reader.header is not None
    sizes = reader.sizes() if has_manifest else None
    digests = reader.digests() if has_manifest else None
    chunk: list[Task] = []
    for i, key in enumerate(reader.sample_keys()):
        expected = (-1, b'')
        if sizes is not None and digests is not None:
            expected = (int(sizes[i]), digests[i].tobytes())
        chunk.append((key, *expected))
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _read(reader: LMDBReader, task: Task) -> tuple[bytes, str]:
    """The bytes of a record, and what is wrong with them."""
    key, size, digest = task
    try:
        # The digest says more than the checksum.
        data = reader.get(key, check=not digest)
    except KeyMissingError:
        return b'', 'the record is missing'
    if size >= 0 and len(data) != size:
        return data, f'the record must have {size} bytes, got {len(data)}'
    if digest and hashlib.sha256(data).digest() != digest:
        return data, f'the SHA-256 must be {digest.hex()}'
    return data, ''


def _verify_chunk(reader: LMDBReader, decode: bool, chunk: list[Task]) -> list[tuple[str, str]]:
    defects = []
    for task in chunk:
        data, defect = _read(reader, task)
        if not defect and decode and is_image_name(task[0]):
            defect = find_defect(data, decode=True)
        if defect:
            defects.append((task[0], defect))
    return defects


def _export_chunk(reader: LMDBReader, output: Path, chunk: list[Task]) -> list[tuple[str, str]]:
    defects = []
    for task in chunk:
        data, defect = _read(reader, task)
        defect = defect or _write(output, task[0], data)
        if defect:
            defects.append((task[0], defect))
    return defects


def _write(output: Path, key: str, data: bytes) -> str:
    """Writes a record below a folder; returns why that cannot be, or ''."""
    try:
        # A foreign database may have keys that would lead out of the folder.
        encode_key(key)
    except LMDBDataError as error:
        return error.problem
    *parents, name = key.split('/')
    folder = output
    for parent in parents:
        folder /= parent
        if folder.is_symlink():
            return f'{folder} is a symbolic link'
        if not folder.is_dir():
            if folder.exists():
                return f'{folder} is a file'
            folder.mkdir(exist_ok=True)  # another worker may be there first
    file = folder / name
    if file.is_dir() and not file.is_symlink():
        return f'{file} is a folder'
    part = folder / f'.mmvmamba-{os.getpid()}.part'
    try:
        part.unlink(missing_ok=True)
        # No link is followed: neither by making a new file, nor by renaming it.
        with open(part, 'xb') as stream:
            stream.write(data)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return ''

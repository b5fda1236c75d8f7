"""Checks a database record by record, and turns it back into files."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from mmvmamba.datasets.errors import DatabaseExistsError, KeyMissingError
from mmvmamba.datasets.image_files import find_defect, is_image_name

from .format import encode_key
from .loading import end_with_parent
from .reader import LMDBReader
from .writer import TABLES, manifest

__all__ = ['export_lmdb', 'verify_lmdb']

CHUNK = 16  # records of one task
TASKS_PER_WORKER = 4  # bounds what waits in memory

# Index, key, and the expected size and SHA-256 where the database knows them.
Task = tuple[int, str, int, bytes]


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
        Key and defect of each bad record; ('', defect) for the index itself.
    """
    reader = LMDBReader(path)
    defects = []
    if reader.header is None:
        decode = True
    else:
        defects += _check_index(reader)
    defects += _each(_verify_chunk, (reader.path, decode), reader, workers, progress)
    return defects


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
        Key and defect of each record that is not what was stored and was not written.
    """
    output = Path(output)
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise DatabaseExistsError(
            'the folder is not empty', str(output), '', 'Pass --overwrite, or name another.'
        )
    reader = LMDBReader(path)
    output.mkdir(parents=True, exist_ok=True)
    defects = _each(_export_chunk, (reader.path, str(output)), reader, workers, progress)
    if list_file is not None:
        labels = reader.labels()
        with open(list_file, 'w', encoding='utf-8', errors='surrogateescape') as file:
            for i, key in enumerate(reader.sample_keys()):
                file.write(f'{key}\n' if labels is None else f'{key} {labels[i]}\n')
    return defects


def _check_index(reader: LMDBReader) -> list[tuple[str, str]]:
    tables = {name: reader.table(name) for name in TABLES}
    found = manifest({name: value for name, value in tables.items() if value is not None})
    defects = []
    if found != reader.header.manifest:
        defects.append(('', f'the manifest of the index must be {reader.header.manifest}'))
    listed = set(reader.sample_keys())
    # Missing records are found one by one.
    defects += [(key, 'not in the index') for key in reader.stored_keys() if key not in listed]
    return defects


def _each(
    function: object, arguments: tuple, reader: LMDBReader, workers: int, progress: bool
) -> list[tuple[str, str]]:
    results: list[tuple[str, str]] = []
    chunks = _chunks(reader)
    with tqdm(total=len(reader), unit='img', disable=not progress) as bar:
        if workers == 0:
            for chunk in chunks:
                results += function(*arguments, chunk)
                bar.update(len(chunk))
            return results
        with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
            pending = deque()
            for chunk in chunks:
                pending.append((len(chunk), pool.submit(function, *arguments, chunk)))
                if len(pending) > TASKS_PER_WORKER * workers:
                    _collect(pending, results, bar)
            while pending:
                _collect(pending, results, bar)
    return results


def _collect(pending: deque, results: list[tuple[str, str]], bar: tqdm) -> None:
    count, future = pending.popleft()
    results += future.result()
    bar.update(count)


def _chunks(reader: LMDBReader) -> Iterator[list[Task]]:
    has_manifest = reader.header is not None
    sizes = reader.sizes() if has_manifest else None
    digests = reader.digests() if has_manifest else None
    chunk: list[Task] = []
    for i, key in enumerate(reader.sample_keys()):
        expected = (int(sizes[i]), digests[i].tobytes()) if has_manifest else (-1, b'')
        chunk.append((i, key, *expected))
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


# One reader in each worker process.
_readers: dict[str, LMDBReader] = {}


def _read(path: str, task: Task) -> tuple[bytes, str]:
    """The bytes of a record, and what is wrong with them."""
    _, key, size, digest = task
    try:
        data = _readers.setdefault(path, LMDBReader(path)).get(key)
    except KeyMissingError:
        return b'', 'the record is missing'
    if size >= 0 and len(data) != size:
        return data, f'the record must have {size} bytes, got {len(data)}'
    if digest and hashlib.sha256(data).digest() != digest:
        return data, f'the SHA-256 must be {digest.hex()}'
    return data, ''


def _verify_chunk(path: str, decode: bool, chunk: list[Task]) -> list[tuple[str, str]]:
    defects = []
    for task in chunk:
        data, defect = _read(path, task)
        if not defect and decode and is_image_name(task[1]):
            defect = find_defect(data, decode=True)
        if defect:
            defects.append((task[1], defect))
    return defects


def _export_chunk(path: str, output: str, chunk: list[Task]) -> list[tuple[str, str]]:
    defects = []
    for task in chunk:
        data, defect = _read(path, task)
        if defect:
            defects.append((task[1], defect))
            continue
        # A foreign database may have keys that would lead out of the folder.
        encode_key(task[1], path)
        file = Path(output, task[1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return defects

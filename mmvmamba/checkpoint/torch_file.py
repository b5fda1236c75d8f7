"""Reads the two formats of ``torch.save``, after a look at what the file declares.

A zip of records has a checksum for each; the format before torch 1.6, pickles followed by the bytes
of the storages, has none.
"""

import io
import mmap
import pickle
import zipfile
from pathlib import Path
from typing import BinaryIO, cast

import torch

from mmvmamba.compat.serialization import allow_safe_globals

from .errors import CheckpointError, UnsafeContentError
from .limits import Checks, damaged, first_line, oversized, unreadable
from .pickle_check import BadPickle, OversizedPickle, PickleCheck, UnsafePickle

__all__ = ['check_torch', 'read_torch']

ZIP_START = b'PK\x03\x04'
_CHUNK = 1 << 20
DOS_FOLDER = 0x10


def read_torch(path: Path, map_location: str | None, checks: Checks, allow_pickle: bool) -> object:
    """Reads a file of ``torch.save``.

    Args:
        path: The file.
        map_location: Where tensors are put, as in ``torch.load``.
        checks: What is checked before.
        allow_pickle: Whether to unpickle arbitrary objects, which can run any code.

    Raises:
        CheckpointError: It is damaged, holds what is not allowed, or declares too much.
    """
    check_torch(path, checks, allow_pickle)
    allow_safe_globals()
    try:
        return torch.load(path, map_location=map_location, weights_only=not allow_pickle)
    except torch.cuda.OutOfMemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise UnsafeContentError(_unsafe(path, str(error))) from error
    # What it raises depends on where it stops, and on the device that is asked for.
    except Exception as error:
        raise CheckpointError(unreadable(path, error)) from error


def check_torch(path: Path, checks: Checks, allow_pickle: bool = False) -> None:
    """Checks a file of ``torch.save`` without reading its tensors; see ``read_torch``."""
    with path.open('rb') as file:
        is_zip = file.read(4) == ZIP_START
        file.seek(0)
        try:
            if is_zip:
                _check_zip(path, file, checks, allow_pickle)
            elif not allow_pickle:
                # A map, unlike a file, reads no more than there is.
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    _check_legacy(path, data, checks)
        except UnsafePickle as error:
            raise UnsafeContentError(_unsafe(path, str(error))) from None
        except OversizedPickle as error:
            raise CheckpointError(oversized(path, str(error))) from None
        except CheckpointError:
            raise
        # zipfile and pickletools were not made for damaged files and raise what they meet.
        except Exception as error:
            raise CheckpointError(damaged(path, str(error) or type(error).__name__)) from error


def _check_zip(path: Path, file: BinaryIO, checks: Checks, allow_pickle: bool) -> None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        _check_records(path, records)
        total, limit = sum(record.file_size for record in records), checks.limit(path)
        if limit is not None and total > limit:
            raise OversizedPickle(f'its records unpack to {total:,} bytes')
        if checks.checksums:
            _check_sums(path, archive)
        if allow_pickle:
            return
        root = f'{records[0].filename.split("/")[0]}/'
        sizes = {
            record.filename.removeprefix(f'{root}data/'): record.file_size for record in records
        }
        PickleCheck(limit, sizes).run(io.BytesIO(archive.read(f'{root}data.pkl')))


def _check_records(path: Path, records: list[zipfile.ZipInfo]) -> None:
    names = [record.filename for record in records]
    root = names[0].split('/')[0] if names else ''
    if len(set(names)) < len(names):
        raise CheckpointError(damaged(path, 'two of its records have one name'))
    # torch makes whatever is in memory of a record that says it is a folder.
    if any(record.external_attr & DOS_FOLDER and not record.is_dir() for record in records):
        raise CheckpointError(damaged(path, 'one of its records says that it is a folder'))
    if f'{root}/constants.pkl' in names:
        raise CheckpointError(
            f'{path} is a TorchScript archive, not a checkpoint: save the `state_dict()` of what '
            '`torch.jit.load` gives'
        )
    if f'{root}/data.pkl' not in names:
        raise CheckpointError(
            f'{path} is a zip archive, but no checkpoint: it has no data.pkl; found '
            f'{sorted(names)[:8]}'
        )


def _check_sums(path: Path, archive: zipfile.ZipFile) -> None:
    for record in archive.infolist():
        try:
            with archive.open(record) as data:
                while data.read(_CHUNK):
                    pass
        except zipfile.BadZipFile as error:
            raise CheckpointError(damaged(path, str(error))) from error


def _check_legacy(path: Path, data: mmap.mmap, checks: Checks) -> None:
    check = PickleCheck(checks.limit(path))
    stream = cast(BinaryIO, data)
    if check.run(stream) != torch.serialization.MAGIC_NUMBER:
        raise CheckpointError(
            f'{path} is a pickle, but no checkpoint of torch: it does not start with its number'
        )
    # The version, the system it was written on, the content, and the keys of its storages.
    keys = [check.run(stream) for _ in range(4)][-1]
    if not isinstance(keys, list) or set(keys) != set(check.storages):
        raise BadPickle('its storages are not those that its tensors refer to')
    declared = sum(8 + check.storages[key].nbytes for key in keys)
    if data.tell() + declared != len(data):
        raise BadPickle(
            f'{declared:,} bytes of storages are declared, {len(data) - data.tell():,} follow'
        )


def _unsafe(path: Path, reason: str) -> str:
    # torch says much about its own options first.
    reason = reason.rpartition('WeightsUnpickler error: ')[2]
    return (
        f'{path} holds objects that are not read safely ({first_line(reason)}). '
        f'Nothing in it was executed. '
        'If you trust its source, convert it once with '
        '`mmvmamba convert IN OUT --allow-pickle`'
    )

"""Reads checkpoint files without executing anything that is pickled in them.

Takes ``.pth`` / ``.pth.tar`` files of torch, ``.safetensors`` files, and Hugging Face folders
(``config.json`` beside one or several ``.safetensors``). What is no checkpoint, a damaged one, or
one that asks for more memory than it has data, is answered with a sentence that names the file.
"""

import contextlib
from pathlib import Path

from .errors import CheckpointError, UnsafeContentError
from .limits import Checks, check_name_hash
from .other_files import reject_other_content
from .safetensors_file import INDEX, is_safetensors, read_parts, read_safetensors
from .torch_file import check_torch, read_torch

__all__ = ['CheckpointError', 'check_whole', 'read_checkpoint']

_FIRST_BYTES = 512


def read_checkpoint(
    path: str | Path,
    map_location: str | None = 'cpu',
    allow_pickle: bool = False,
    checksums: bool | None = None,
    bounds: bool | None = None,
) -> dict:
    """Reads a file or a Hugging Face folder.

    Args:
        path: The file, or a folder with ``model.safetensors``.
        map_location: Where tensors are put, as in ``torch.load``.
        allow_pickle: Whether to unpickle arbitrary objects, which can run any code. Only for files
            whose source is trusted.
        checksums: Whether to read the file once more beforehand and compare it with the hash in its
            name, or else with the checksums in a zip. By default yes, unless
            ``MMVMAMBA_SKIP_CHECKSUMS=1`` is set.
        bounds: Whether to refuse a file whose records or tensors are many times larger than it. By
            default yes, unless ``MMVMAMBA_ALLOW_HUGE=1`` is set.

    Returns:
        What the file holds: a state dict, or a dict with a state dict among its entries.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        CheckpointError: It is no checkpoint, it is damaged, it holds objects that are not allowed,
            or it declares more than it can hold.
    """
    path = Path(path).expanduser()
    checks = Checks.wanted(checksums, bounds)
    if path.is_dir():
        return _read_folder(path, map_location, checks)
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {path}')
    return _read_file(path, map_location, checks, allow_pickle)


def check_whole(path: Path, name: str) -> None:
    """Checks whether a file is all there, without reading its tensors.

    Args:
        path: The file.
        name: Its name, or the one that it is to have.

    Raises:
        CheckpointError: It is no checkpoint or not a whole one, or it is not what its name says.
    """
    start = _first_bytes(path)
    if not check_name_hash(path, name):
        if is_safetensors(Path(name), start):
            read_safetensors(path, 'cpu')
        else:
            # What is unsafe may be wanted: that is decided when it is read.
            with contextlib.suppress(UnsafeContentError):
                check_torch(path, Checks.wanted())


def _first_bytes(path: Path) -> bytes:
    with path.open('rb') as file:
        start = file.read(_FIRST_BYTES)
    reject_other_content(path, start)
    return start


def _read_file(
    path: Path, map_location: str | None, checks: Checks, allow_pickle: bool = False
) -> dict:
    start = _first_bytes(path)
    if checks.checksums and check_name_hash(path):
        # That covers every byte.
        checks = Checks(False, checks.bounds)
    if is_safetensors(path, start):
        return read_safetensors(path, map_location)
    checkpoint = read_torch(path, map_location, checks, allow_pickle)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'{path} holds a {type(checkpoint).__name__}; a checkpoint is a dict of tensors, or a '
            f'dict with one in it'
        )
    return checkpoint


def _read_folder(folder: Path, map_location: str | None, checks: Checks) -> dict:
    if (folder / INDEX).is_file():
        return read_parts(folder, map_location)
    for name in ('model.safetensors', 'pytorch_model.bin'):
        if (folder / name).is_file():
            return _read_file(folder / name, map_location, checks)
    raise CheckpointError(
        f'{folder} is a folder without model.safetensors or pytorch_model.bin; found '
        f'{sorted(p.name for p in folder.iterdir())[:8]}'
    )

"""Reads checkpoint files without executing anything that is pickled in them.

Takes ``.pth`` / ``.pth.tar`` files of torch, ``.safetensors`` files, and Hugging Face folders
(``config.json`` beside one or several ``.safetensors``). What is no checkpoint, or a damaged one,
is answered with a sentence that names the file.
"""

import json
import pickle
from pathlib import Path

import torch

from mmvmamba.compat.serialization import allow_safe_globals

__all__ = ['CheckpointError', 'read_checkpoint']

_FIRST_BYTES = 512


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint, or one that does not fit the model."""


def read_checkpoint(
    path: str | Path, map_location: str = 'cpu', allow_pickle: bool = False
) -> dict:
    """Reads a file or a Hugging Face folder.

    Args:
        path: The file, or a folder with ``model.safetensors``.
        map_location: Where tensors are put, as in ``torch.load``.
        allow_pickle: Whether to unpickle arbitrary objects, which can run any code. Only for files
            whose source is trusted.

    Returns:
        What the file holds: a state dict, or a dict with a state dict among its entries.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        CheckpointError: It is no checkpoint, it is damaged, or it holds objects that are not
            allowed.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_folder(path, map_location)
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {path}')
    with path.open('rb') as file:
        start = file.read(_FIRST_BYTES)
    _reject_other_content(path, start)
    if _is_safetensors(path, start):
        return _read_safetensors(path, map_location)
    checkpoint = _read_torch(path, map_location, allow_pickle)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'{path} holds a {type(checkpoint).__name__}; a checkpoint is a dict of tensors, or a '
            f'dict with one in it'
        )
    return checkpoint


def _reject_other_content(path: Path, start: bytes) -> None:
    text = start.lstrip().lower()
    if not start:
        raise CheckpointError(f'{path} is empty')
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        raise CheckpointError(
            f'{path} is an HTML page, not a checkpoint: the download was probably redirected to a '
            f'web page'
        )
    if text.startswith(b'version https://git-lfs'):
        raise CheckpointError(
            f'{path} is a git-lfs pointer, not a checkpoint: fetch the file itself with `git lfs '
            f'pull`'
        )


def _is_safetensors(path: Path, start: bytes) -> bool:
    # A safetensors file begins with the length of its JSON header in eight bytes.
    return path.suffix == '.safetensors' or start[8:9] == b'{'


def _read_torch(path: Path, map_location: str, allow_pickle: bool) -> object:
    allow_safe_globals()
    try:
        return torch.load(path, map_location=map_location, weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if 'global' not in reason.lower() and 'class' not in reason.lower():
            raise CheckpointError(_damaged(path, reason)) from error
        raise CheckpointError(
            f'{path} holds objects that are not read safely ({_first_line(reason, "global")}). '
            f'Nothing in it was executed. '
            'If you trust its source, convert it once with '
            '`python tools/model_converters/convert_checkpoint.py IN OUT --allow-pickle`'
        ) from error
    # torch reports a damaged file in any of these ways, depending on where it stops.
    except (RuntimeError, OSError, EOFError, LookupError, ValueError) as error:
        raise CheckpointError(_damaged(path, str(error))) from error


def _read_safetensors(path: Path, map_location: str) -> dict:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f'{path} needs the package safetensors: pip install "mmvmamba[hf]"'
        ) from error
    try:
        return load_file(path, device=str(map_location or 'cpu'))
    except SafetensorError as error:
        raise CheckpointError(_damaged(path, str(error))) from error


def _read_folder(folder: Path, map_location: str) -> dict:
    index = folder / 'model.safetensors.index.json'
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())['weight_map'].values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f'{index} lists {missing}, which are not in the folder')
        parts = [_read_safetensors(folder / name, map_location) for name in names]
        return {key: tensor for part in parts for key, tensor in part.items()}
    for name in ('model.safetensors', 'pytorch_model.bin'):
        if (folder / name).is_file():
            return read_checkpoint(folder / name, map_location)
    raise CheckpointError(
        f'{folder} is a folder without model.safetensors or pytorch_model.bin; found '
        f'{sorted(p.name for p in folder.iterdir())[:8]}'
    )


def _damaged(path: Path, reason: str) -> str:
    return (
        f'{path} ({path.stat().st_size:,} bytes) is not a readable checkpoint: it is damaged, was '
        f'cut off, or is another '
        f'kind of file ({_first_line(reason)})'
    )


def _first_line(reason: str, about: str = '') -> str:
    lines = [line.strip() for line in reason.splitlines() if line.strip()] or ['no reason given']
    return next((line for line in lines if about in line.lower()), lines[0])[:300]

"""Reads ``.safetensors`` files, and the folders that Hugging Face keeps them in.

The package safetensors checks that the header is sound and covers the file to its last byte. There
is no checksum in the format: a changed number in a tensor is seen only if the file's name has a
hash.
"""

import json
from pathlib import Path

from .errors import CheckpointError
from .limits import damaged

__all__ = ['INDEX', 'is_safetensors', 'read_parts', 'read_safetensors']

INDEX = 'model.safetensors.index.json'
_LONGEST_INDEX = 64 << 20


def is_safetensors(path: Path, start: bytes) -> bool:
    """Whether a file is one of safetensors: it begins with the length of a JSON header."""
    return path.suffix == '.safetensors' or start[8:9] == b'{'


def read_safetensors(path: Path, map_location: str | None) -> dict:
    """Reads one file.

    Raises:
        CheckpointError: It is damaged.
        ImportError: The package safetensors is missing.
    """
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f'{path} needs the package safetensors: pip install "mmvmamba[hf]"'
        ) from error
    try:
        tensors = load_file(path, device=str(map_location or 'cpu'))
    # SafetensorError for most, and whatever torch makes of the rest.
    except Exception as error:
        raise CheckpointError(damaged(path, str(error) or type(error).__name__)) from error
    for key in tensors:
        if not key.isprintable():
            raise CheckpointError(damaged(path, f'it has the key {key!r:.80}'))
    return tensors


def read_parts(folder: Path, map_location: str | None) -> dict:
    """Reads the parts that the index of a folder lists.

    Raises:
        CheckpointError: The index is damaged, leads out of the folder, or does not fit its parts.
    """
    index = folder / INDEX
    places = _weight_map(index)
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name or Path(name).suffix != '.safetensors':
            raise CheckpointError(
                f'{index} lists {name!r}, which is no name of a .safetensors file beside it'
            )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f'{index} lists {missing}, which are not in the folder')
    parts = {name: read_safetensors(folder / name, map_location) for name in names}
    absent = [key for key, name in places.items() if key not in parts[name]]
    if absent:
        raise CheckpointError(
            f'{index} says that {places[absent[0]]} holds {absent[0]!r}, which it does not '
            f'({len(absent)} such)'
        )
    return {key: tensor for part in parts.values() for key, tensor in part.items()}


def _weight_map(index: Path) -> dict[str, str]:
    if index.stat().st_size > _LONGEST_INDEX:
        raise CheckpointError(f'{index} is too long for an index')
    try:
        places: dict[str, str] = json.loads(index.read_bytes())['weight_map']
        if places and all(isinstance(name, str) for name in places.values()):
            return places
    # RecursionError: nested lists without end.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise CheckpointError(f'{index} is damaged: it has no "weight_map" from keys to file names')

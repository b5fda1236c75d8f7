"""Writes checkpoints of tensors and plain data only, with their hash in the name."""

import hashlib
import os
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError

__all__ = ['plain_meta', 'save_published', 'weights_to_publish']

PLAIN_TYPES = (str, int, float, bool, type(None))


def save_published(state_dict: dict[str, Tensor], meta: dict, out: str | Path) -> Path:
    """Saves ``{'meta', 'state_dict'}`` under the name with the first eight digits of its sha256.

    Args:
        state_dict: The tensors.
        meta: Plain data, see ``plain_meta``.
        out: The file without the hash: ``x/vim_tiny.pth`` becomes ``x/vim_tiny-1a2b3c4d.pth``.

    Returns:
        The path of the file.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    tensors = OrderedDict(
        (key, tensor.detach().cpu().clone().contiguous()) for key, tensor in state_dict.items()
    )
    part = out.with_name(f'{out.name}.part')
    try:
        torch.save({'meta': meta, 'state_dict': tensors}, part)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()[:8]
        suffix = out.suffix or '.pth'
        path = out.with_name(f'{out.name.removesuffix(out.suffix)}-{digest}{suffix}')
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def weights_to_publish(checkpoint: dict, source: str, raw: bool = False) -> dict[str, Tensor]:
    """The weights of a training checkpoint of mmengine.

    Args:
        checkpoint: What ``read_checkpoint`` gave.
        source: Name of the file, for messages.
        raw: Whether to take the weights that were trained instead of their average. mmengine's
            ``EMAHook`` swaps the two when it saves: the average is under 'state_dict'.
    """
    entry = 'ema_state_dict' if raw else 'state_dict'
    state = checkpoint.get(entry)
    if not isinstance(state, dict):
        raise CheckpointError(f'{source} has no {entry!r}; its entries are {list(checkpoint)}')
    # 'steps' counts the updates of the average; it is no weight.
    names = {key: key.removeprefix('module.') for key in state if key != 'steps'}
    return {name: state[key] for key, name in names.items()}


def plain_meta(meta: dict) -> dict:
    """The part of a checkpoint's ``meta`` that is text, numbers, and lists and dicts of these."""
    return {key: _plain(value) for key, value in meta.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(inner) for key, inner in value.items())
    return isinstance(value, PLAIN_TYPES)


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value

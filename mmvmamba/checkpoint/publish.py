"""Writes checkpoints of tensors and plain data only, with their hash in the name."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from mmvmamba.files import put_in_place

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

    Raises:
        CheckpointError: If it cannot be written, such as for want of room; nothing is left behind.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    tensors = OrderedDict(
        (key, tensor.detach().cpu().clone().contiguous()) for key, tensor in state_dict.items()
    )
    part = out.with_name(f'{out.name}.part')
    try:
        _save({'meta': meta, 'state_dict': tensors}, part)
        digest = _sha256(part)[:8]
        suffix = out.suffix or '.pth'
        path = out.with_name(f'{out.name.removesuffix(out.suffix)}-{digest}{suffix}')
        put_in_place(part, path)
    except OSError as error:
        raise CheckpointError(
            f'{out} cannot be written ({error.strerror}); free some space, or name another folder'
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _save(checkpoint: dict, part: Path) -> None:
    try:
        with open(part, 'wb') as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:
        # torch answers a write that failed with an error of its own, raised in the place of ours.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


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

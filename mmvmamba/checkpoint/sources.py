"""Finds the file behind a name: a path, an address, or a repository of the Hugging Face hub."""

import contextlib
import os
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import print_log

from .errors import CheckpointError
from .limits import first_line
from .safe_load import check_whole

__all__ = ['download', 'fetch_from_hub', 'locate']

_HUB_WEIGHTS = [
    'config.json',
    'model.safetensors',
    'model.safetensors.index.json',
    'model-*.safetensors',
]


def locate(source: str | Path) -> Path:
    """The local path of a checkpoint, which is downloaded if need be.

    Args:
        source: A file, a folder in the layout of Hugging Face, ``http(s)://…``, or
            ``hf://owner/name[/file]``. The last two are kept in the caches of torch and of
            huggingface_hub, and come from there without a network.

    Raises:
        FileNotFoundError: There is no such file or folder.
        CheckpointError: It could not be downloaded, or is not whole.
    """
    source = str(source)
    if source.startswith('hf://'):
        return _from_hub(source)
    if source.startswith(('http://', 'https://')):
        return _from_web(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    return path


def _from_hub(source: str) -> Path:
    match = re.fullmatch(r'hf://([^/]+/[^/]+)(?:/(.+))?', source)
    if match is None:
        raise ValueError(
            f'a hub checkpoint is named hf://owner/name or hf://owner/name/file, got {source!r}'
        )
    repo, filename = match.groups()
    folder = fetch_from_hub(repo, filename)
    if filename is not None:
        return folder
    if not any(folder.glob('*.safetensors')):
        raise CheckpointError(
            f'{source} has no model.safetensors: name the file, as in {source}/FILE.pth'
        )
    return folder


def fetch_from_hub(
    repo: str,
    filename: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The local path of a file of the Hugging Face hub, or of a folder with the weights there.

    Args:
        repo: ``owner/name``.
        filename: A file in it; None for ``config.json`` and the ``.safetensors`` files.
        revision: Branch, tag or commit; None for the main branch.
        token: Of a user who may read it; None for the one that ``hf auth login`` left.
        cache_dir: Where downloads are kept; None for the cache of huggingface_hub.
        local_files_only: Whether to look in the cache alone.
        force_download: Whether to download what the cache has already.

    Raises:
        ImportError: The package huggingface_hub is missing.
        FileNotFoundError: It is neither in the cache nor could it be fetched.
    """
    source = f'hf://{repo}' if filename is None else f'hf://{repo}/{filename}'
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f'{source} needs the package huggingface_hub: pip install "mmvmamba[hf]"'
        ) from error
    options: dict[str, Any] = dict(
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    try:
        if filename is not None:
            return Path(huggingface_hub.hf_hub_download(repo, filename, **options))
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=_HUB_WEIGHTS, **options))
    except (OSError, ValueError) as error:
        # The hub's errors derive from both, and their own text does not say what was asked for.
        raise FileNotFoundError(
            f'{source} is neither in the local cache nor could it be fetched '
            f'({first_line(str(error))}): download it from https://huggingface.co/{repo} and name '
            'the file or folder in its place (--weights FILE, --checkpoint FILE or pretrained=FILE)'
        ) from error


def _from_web(url: str) -> Path:
    # The whole address is kept: files of different models have the same name, even on one host.
    address = urlparse(url)
    parts = [part for part in address.path.split('/') if part not in ('', '.', '..')]
    return download(
        url, Path(torch.hub.get_dir(), 'checkpoints', 'mmvmamba', address.netloc, *parts)
    )


def download(url: str, path: Path) -> Path:
    """Downloads a checkpoint to a path, unless it is there.

    Args:
        url: ``http(s)://…``.
        path: Gets its name when the file is whole.

    Returns:
        The path.

    Raises:
        CheckpointError: It could not be downloaded, or is not whole.
    """
    # Rank 0 first; the others after it, if their machines do not share the folder.
    for mine in (get_rank() == 0, get_rank() != 0):
        failure = _download(url, path) if mine and not path.is_file() else None
        # A rank that raised alone would leave the others waiting for it.
        failures = all_gather_object(failure) if get_world_size() > 1 else [failure]
        for text in filter(None, failures):
            raise CheckpointError(text)
    return path


def _download(url: str, path: Path) -> str | None:
    """Downloads a file, which gets its name when it is whole. Returns why that failed."""
    print_log(f'downloading {url} to {path}', logger='current')
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    by_hand = (
        f'download {url} by other means and name the file in its place '
        '(--weights FILE, --checkpoint FILE or pretrained=FILE)'
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(part), progress=get_rank() == 0)
        check_whole(part, path.name)
        os.replace(part, path)
    except (URLError, HTTPException, TimeoutError) as error:
        reason = getattr(error, 'reason', None) or error
        return f'{url} could not be downloaded ({reason}): {by_hand}, or put it at {path}'
    except OSError as error:
        return (
            f'{url} could not be kept in {path.parent} ({error.strerror or error}): set TORCH_HOME '
            f'to a folder that can be written, or {by_hand}'
        )
    except (CheckpointError, ImportError) as error:
        return f'{url} did not give a whole checkpoint: {error}. Try again, or {by_hand}'
    finally:
        _remove(part)
    return None


def _remove(part: Path) -> None:
    # It may be in a folder that cannot even be looked into.
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)

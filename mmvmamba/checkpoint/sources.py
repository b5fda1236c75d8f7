"""Finds the file behind a name: a path, an address, or a repository of the Hugging Face hub."""

import re
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log

from .errors import CheckpointError

__all__ = ['locate']

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
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f'{source} needs the package huggingface_hub: pip install "mmvmamba[hf]"'
        ) from error
    repo, filename = match.groups()
    try:
        if filename is not None:
            return Path(huggingface_hub.hf_hub_download(repo, filename))
        folder = Path(huggingface_hub.snapshot_download(repo, allow_patterns=_HUB_WEIGHTS))
    except (OSError, ValueError) as error:
        # The hub's errors derive from both, and their own text does not say what was asked for.
        raise FileNotFoundError(
            f'{source} is neither in the local cache nor could it be fetched: {error}'
        ) from error
    if not any(folder.glob('*.safetensors')):
        raise CheckpointError(
            f'{source} has no model.safetensors: name the file, as in {source}/FILE.pth'
        )
    return folder


def _from_web(url: str) -> Path:
    # The whole address is kept: files of different models have the same name, even on one host.
    address = urlparse(url)
    parts = [part for part in address.path.split('/') if part not in ('', '.', '..')]
    path = Path(torch.hub.get_dir(), 'checkpoints', 'mmvmamba', address.netloc, *parts)
    for turn in ('main', 'others'):
        if (get_rank() == 0) == (turn == 'main') and not path.is_file():
            print_log(f'downloading {url} to {path}', logger='current')
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=get_rank() == 0)
        if get_world_size() > 1:
            torch.distributed.barrier()
    return path

"""What is checked before a run starts: bad input ends in one message, nothing is half-written."""

import logging
import os
import tempfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmvmamba.checkpoint import locate, read_checkpoint, state_dict_of_run
from mmvmamba.datasets.lmdb.shards import find_databases

from .config_keys import walk
from .errors import UserError

__all__ = [
    'check_amp',
    'check_checkpoint',
    'check_data',
    'check_model',
    'check_weights',
    'check_work_dir',
]

WAY_OUT = 'download or generate it, or name another place with'


def _is_remote(path: str) -> bool:
    return '://' in path or path.startswith(('s3:', 'petrel:', 'cluster:'))


def check_checkpoint(path: str) -> None:
    """Refuses a local checkpoint that is not there, file or folder; addresses are not looked up.

    Raises:
        UserError: Naming the file, and what checkpoints its folder does hold.
    """
    if _is_remote(path):
        return
    try:
        locate(path)
    except FileNotFoundError as error:
        raise UserError(f'checkpoint {path} does not exist{_neighbours(path)}') from error


def _neighbours(path: str) -> str:
    folder = Path(path).expanduser().parent
    if not folder.is_dir():
        return f', nor does its folder {folder}'
    found = sorted(item.name for item in folder.glob('*.pth'))
    return f'; {folder} holds {", ".join(found)}' if found else f'; {folder} holds no .pth file'


def check_data(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Refuses data roots, annotation files and image folders that are not there.

    Args:
        cfg: The config.
        loaders: Which of its data loaders will be used, such as 'train_dataloader'.

    Raises:
        UserError: Naming the first missing path and the key that sets it.
    """
    for loader in loaders:
        if cfg.get(loader) is not None:
            for key, node in walk(cfg[loader].get('dataset'), f'{loader}.dataset'):
                _check_dataset(key, node)
        evaluator = loader.replace('dataloader', 'evaluator')
        for key, node in walk(cfg.get(evaluator), evaluator):
            _check_path(node.get('ann_file'), 'annotation file', f'{key}.ann_file')


def _check_dataset(key: str, node: dict) -> None:
    if 'type' not in node or not {'data_root', 'ann_file', 'data_prefix'} & set(node):
        return
    root = node.get('data_root') or ''
    _check_path(root, 'data root', f'{key}.data_root')
    _check_path(_join(root, node.get('ann_file')), 'annotation file', f'{key}.ann_file')
    prefixes = node.get('data_prefix') or {}
    if isinstance(prefixes, str):
        prefixes = {'': prefixes}
    for name, prefix in prefixes.items():
        field = f'{key}.data_prefix.{name}'.rstrip('.')
        path = _join(root, prefix)
        # A classification data set may be a database of that name, or several.
        if not os.path.exists(f'{path}.lmdb') and not find_databases(f'{path}.lmdb'):
            _check_path(path, 'folder', field)


def _join(root: str, path: str | None) -> str:
    if not path or os.path.isabs(path) or _is_remote(path):
        return path or ''
    return os.path.join(root, path)


def _check_path(path: object, what: str, key: str) -> None:
    if isinstance(path, str) and path and not _is_remote(path) and not os.path.exists(path):
        raise UserError(f'{what} {path} does not exist; {WAY_OUT} --cfg-options {key}=PATH')


def check_model(cfg: Config) -> nn.Module:
    """Builds the model, so that a wrong type or argument is met before anything is written.

    Returns:
        The model, without memory for its weights where its modules allow that.

    Raises:
        UserError: With the reason the model gave, and for pretrained weights that are not there.
    """
    for _, node in walk(cfg.model, 'model'):
        if node.get('type') == 'Pretrained' and node.get('checkpoint'):
            check_checkpoint(node['checkpoint'])
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    try:
        return _build_without_weights(cfg)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise UserError(f'the model of the config cannot be built: {reason}') from error


def _build_without_weights(cfg: Config) -> nn.Module:
    try:
        with torch.device('meta'):
            return MODELS.build(cfg.model)
    except (NotImplementedError, RuntimeError):
        # Some modules compute with values while they are built, which that device has not.
        return MODELS.build(cfg.model)


def check_weights(cfg: Config, model: nn.Module) -> dict:
    """Refuses a checkpoint that the run cannot start from or go on with.

    Addresses are left to the runner, which loads as strictly.

    Args:
        cfg: The config; ``load_from``, ``resume`` and ``allow_partial`` say what is wanted.
        model: What ``check_model`` gave.

    Returns:
        The ``meta`` entry of the checkpoint; empty if there is none.

    Raises:
        UserError: There is no such file.
        CheckpointError: Naming the file, what does not fit, and the way out.
    """
    source = cfg.get('load_from')
    if not source or _is_remote(source):
        return {}
    check_checkpoint(source)
    checkpoint = read_checkpoint(locate(source))
    logger = MMLogger.get_current_instance()
    level = logger.level
    # The runner says it, when it loads.
    logger.setLevel(logging.ERROR)
    try:
        state_dict_of_run(
            model,
            checkpoint,
            source,
            resume=cfg.get('resume', False),
            allow_partial=cfg.get('allow_partial', False),
        )
    finally:
        logger.setLevel(level)
    return checkpoint.get('meta') or {}


def check_amp() -> None:
    """Refuses automatic mixed precision on a machine without an accelerator.

    Raises:
        UserError: If there is none.
    """
    if not torch.cuda.is_available():
        raise UserError(
            '--amp needs a GPU and this machine has none; leave it out to train in fp32'
        )


def check_work_dir(path: str, what: str = 'work dir', option: str = '--work-dir') -> None:
    """Makes the work dir, or another folder, and writes to it once.

    Args:
        path: The folder.
        what: What a message calls it.
        option: What names another.

    Raises:
        UserError: If that fails.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f'{what} {path} cannot be written: {reason}; name another with {option}'
        ) from error

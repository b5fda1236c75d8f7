"""Reading a config for the tools: parse, find the task, notice misspelt keys."""

import difflib
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmvmamba.apis.catalogue import find_entry
from mmvmamba.apis.metafiles import config_root
from mmvmamba.compat import require

from .config_keys import unknown_keys, unknown_options
from .errors import UserError

__all__ = ['TASKS', 'load_config', 'task_of']

# default scope: task
TASKS = {'mmpretrain': 'classification', 'mmdet': 'detection', 'mmseg': 'segmentation'}


def load_config(path: str, options: dict | None = None) -> Config:
    """Reads a config file and applies overrides.

    Args:
        path: The file; or, where there is none, its path from the root of the project or the name
            of its model, for the configs that came with the package.
        options: Overrides as ``--cfg-options`` gives them, dotted key to value.

    Raises:
        UserError: If the file is missing or does not parse, if an override does not fit, or if it
            or the file has a key that nothing reads.
    """
    path = _find(path)
    if not Path(path).is_file():
        raise UserError(f'config file {path} does not exist{_similar_files(path)}')
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
        detail = f'{type(error).__name__}: {error}'
        raise UserError(f'config file {path} does not parse: {detail}') from error
    _import_packages(cfg)
    if options:
        for option, hint in unknown_options(cfg, options):
            raise UserError(f'--cfg-options {option}: {hint}')
        try:
            cfg.merge_from_dict(options)
        except (KeyError, TypeError, IndexError, AssertionError) as error:
            raise UserError(f'--cfg-options {options} does not fit {path}: {error}') from error
    for key, hint in unknown_keys(cfg):
        raise UserError(f'{path}: unknown key {key!r}; {hint}')
    return cfg


def _find(path: str) -> str:
    """The shipped config that is meant, if there is no such file."""
    if Path(path).is_file():
        return path
    shipped = config_root().parent / path
    if path.endswith('.py') and shipped.is_file():
        return str(shipped)
    entry = None if path.endswith('.py') else find_entry(path)
    return str(entry.config) if entry else path


def _import_packages(cfg: Config) -> None:
    """Imports the task's toolbox and ``custom_imports``.

    mmengine would report a toolbox that is missing as a type that is not in a registry.
    """
    try:
        if cfg.get('default_scope') in TASKS:
            require(cfg.default_scope)
    except ImportError as error:
        raise UserError(str(error)) from error
    try:
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
    except ImportError as error:
        # mmengine's own message leaves the reason to the context.
        raise UserError(f'{error}: {error.__context__}') from error


def task_of(cfg: Config) -> str:
    """Names the task of a config: 'classification', 'detection' or 'segmentation'.

    Raises:
        UserError: If the config names no scope, or one of another toolbox.
    """
    scope = cfg.get('default_scope')
    if scope not in TASKS:
        raise UserError(f'default_scope of the config must be one of {list(TASKS)}, got {scope!r}')
    return TASKS[scope]


def _similar_files(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f', nor does its folder {folder}'
    names = [item.name for item in folder.iterdir() if item.is_file()]
    close = difflib.get_close_matches(Path(path).name, names, n=3)
    return f'; did you mean {" or ".join(str(folder / name) for name in close)}?' if close else ''

"""Reading a config for the tools: parse, find the task, notice misspelt keys."""

import difflib
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmvmamba.compat import require

from .errors import UserError

__all__ = ['TASKS', 'load_config', 'misspelt_keys', 'task_of', 'walk']

# default scope: task
TASKS = {'mmpretrain': 'classification', 'mmdet': 'detection', 'mmseg': 'segmentation'}

# What mmengine's runner and our tools read from the top level of a config.
KNOWN_KEYS = (
    *('model', 'work_dir', 'train_dataloader', 'val_dataloader', 'test_dataloader'),
    *('train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr', 'optim_wrapper', 'param_scheduler'),
    *('val_evaluator', 'test_evaluator', 'default_hooks', 'custom_hooks', 'data_preprocessor'),
    *('load_from', 'resume', 'launcher', 'env_cfg', 'log_processor', 'log_level', 'visualizer'),
    *('default_scope', 'randomness', 'experiment_name', 'runner_type', 'strategy', 'compile'),
    *('custom_imports', 'tta_model', 'tta_pipeline', 'sync_bn', 'find_unused_parameters'),
    *('model_wrapper_cfg', 'activation_checkpointing', 'efficient_conv_bn_eval'),
)

# Common names of a config's own values that resemble one of those.
KNOWN_VARIABLES = ('train_pipeline', 'val_pipeline', 'test_pipeline')


def load_config(path: str, options: dict | None = None) -> Config:
    """Reads a config file and applies overrides.

    Args:
        path: The file.
        options: Overrides as ``--cfg-options`` gives them, dotted key to value.

    Raises:
        UserError: If the file is missing or does not parse, if an override does not fit, or if a
            top-level key looks like a misspelling.
    """
    if not Path(path).is_file():
        raise UserError(f'config file {path} does not exist{_similar_files(path)}')
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
        detail = f'{type(error).__name__}: {error}'
        raise UserError(f'config file {path} does not parse: {detail}') from error
    _import_packages(cfg)
    if options:
        try:
            cfg.merge_from_dict(options)
        except (KeyError, TypeError, IndexError, AssertionError) as error:
            raise UserError(f'--cfg-options {options} does not fit {path}: {error}') from error
    for key, known in misspelt_keys(cfg).items():
        raise UserError(f'{path}: unknown key {key!r}; did you mean {known!r}?')
    return cfg


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


def misspelt_keys(cfg: Config) -> dict[str, str]:
    """Finds top-level keys that nothing reads and that resemble one that is read.

    Returns:
        Misspelt key to the key that was probably meant.
    """
    found = {}
    for key in cfg:
        if key in (*KNOWN_KEYS, *KNOWN_VARIABLES):
            continue
        close = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=0.85)
        if close:
            found[key] = close[0]
    return found


def task_of(cfg: Config) -> str:
    """Names the task of a config: 'classification', 'detection' or 'segmentation'.

    Raises:
        UserError: If the config names no scope, or one of another toolbox.
    """
    scope = cfg.get('default_scope')
    if scope not in TASKS:
        raise UserError(f'default_scope of the config must be one of {list(TASKS)}, got {scope!r}')
    return TASKS[scope]


def walk(node: object, key: str = '') -> list[tuple[str, dict]]:
    """Lists every dict inside a config node with its dotted key, the node itself first."""
    if isinstance(node, dict):
        children = node.items()
        found = [(key, node)]
    elif isinstance(node, list | tuple):
        children = enumerate(node)
        found = []
    else:
        return []
    for name, child in children:
        found += walk(child, f'{key}.{name}' if key else str(name))
    return found


def _similar_files(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f', nor does its folder {folder}'
    names = [item.name for item in folder.iterdir() if item.is_file()]
    close = difflib.get_close_matches(Path(path).name, names, n=3)
    return f'; did you mean {" or ".join(str(folder / name) for name in close)}?' if close else ''

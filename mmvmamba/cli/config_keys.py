"""Finds keys of a config that nothing reads, by comparing them with what their reader takes.

mmengine reads the top level of a config by name and passes over the rest, and a wrong argument of a
data set or an optimizer is a traceback once the model has been built. Only what is certain is
judged: a dict whose ``type`` is registered and tells its arguments by its signature, and the few
dicts without a type whose reader is known.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import LogProcessor, set_random_seed
from torch.utils.data import DataLoader

from .signatures import Arguments, arguments_of, names_literally

__all__ = ['KNOWN_KEYS', 'unknown_keys', 'unknown_options', 'walk']

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

# What mmcv 1 read from there, and where it is set now.
MOVED_KEYS = {
    'data': 'train_dataloader, val_dataloader and test_dataloader',
    'samples_per_gpu': 'train_dataloader.batch_size',
    'workers_per_gpu': 'train_dataloader.num_workers',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'fp16': 'optim_wrapper.type, or --amp',
    'lr_config': 'param_scheduler',
    'runner': 'train_cfg',
    'total_epochs': 'train_cfg.max_epochs',
    'evaluation': 'val_evaluator and train_cfg.val_interval',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'dist_params': 'env_cfg.dist_cfg',
    'resume_from': 'load_from and resume, or --resume FILE',
}
# Files that OpenMMLab ships have these yet, unread.
LEFTOVERS = {'data', 'optimizer', 'optimizer_config', 'fp16', 'runner'}

# Common names of a config's own values that resemble one of those.
KNOWN_VARIABLES = ('train_pipeline', 'val_pipeline', 'test_pipeline')

_DATA = (root.DATASETS, root.TRANSFORMS, root.DATA_SAMPLERS)
_EVALUATION = (root.EVALUATOR, root.METRICS)
# Top-level key: where the types below it are registered.
_REGISTRIES: dict[str, tuple[Registry, ...]] = {
    'model': (root.MODELS, root.TASK_UTILS),
    'train_dataloader': _DATA,
    'val_dataloader': _DATA,
    'test_dataloader': _DATA,
    'tta_pipeline': (root.TRANSFORMS,),
    'train_cfg': (root.LOOPS,),
    'val_cfg': (root.LOOPS,),
    'test_cfg': (root.LOOPS,),
    'optim_wrapper': (root.OPTIM_WRAPPERS, root.OPTIMIZERS),
    'param_scheduler': (root.PARAM_SCHEDULERS,),
    'default_hooks': (root.HOOKS,),
    'custom_hooks': (root.HOOKS,),
    'val_evaluator': _EVALUATION,
    'test_evaluator': _EVALUATION,
    'visualizer': (root.VISUALIZERS, root.VISBACKENDS),
}

# Keys that mmengine takes out of a dict before it builds the object.
_TAKEN_OUT = {
    root.HOOKS: {'priority'},
    root.OPTIM_WRAPPERS: {'constructor', 'paramwise_cfg', 'optimizer'},
    root.PARAM_SCHEDULERS: {'convert_to_iter_based'},
}
_ANYWHERE = {'type', '_scope_', '_delete_'}

# Dicts that mmengine reads key by key.
_PLAIN = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
}

# Layers are built by functions that add to and take out of their dicts as they like.
_LAYERS = {'norm_cfg', 'conv_cfg', 'act_cfg', 'upsample_cfg', 'padding_cfg', 'init_cfg'}

# A key that resembles one of a target that also takes others is a misspelling from here on.
_NEAR = 0.85


def unknown_keys(cfg: Config) -> Iterator[tuple[str, str]]:
    """Finds keys that nothing reads.

    Args:
        cfg: A config whose toolbox and ``custom_imports`` are imported.

    Yields:
        The dotted key and a hint: the nearest key, or all that there are.
    """
    for key in cfg:
        if key in MOVED_KEYS and key not in LEFTOVERS and not _places(cfg, key):
            yield key, _where_moved(key)
        elif key not in (*KNOWN_KEYS, *KNOWN_VARIABLES):
            near = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=_NEAR)
            if near:
                yield key, f'did you mean {near[0]!r}?'
    scope = cfg.get('default_scope') or 'mmengine'
    for section in cfg:
        yield from _Section(dict(walk(cfg[section], section)), scope).unknown()


def unknown_options(cfg: Config, options: dict) -> Iterator[tuple[str, str]]:
    """Finds overrides at the top level that nothing reads.

    Args:
        cfg: The config without the overrides.
        options: Dotted key to value, as ``--cfg-options`` gives them.

    Yields:
        The dotted key and a hint.
    """
    for option in options:
        key = option.partition('.')[0]
        if key in KNOWN_KEYS:
            continue
        if key not in cfg:
            (near,) = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=0.0)
            hint = _where_moved(key) if key in MOVED_KEYS else f'the nearest key is {near!r}'
            yield option, f'nothing reads {key!r}; {hint}'
        elif places := _places(cfg, key):
            yield option, f'the file itself has used up {key!r}; set what it is used for: {places}'


def _where_moved(key: str) -> str:
    return f'it was one of mmcv 1, set {MOVED_KEYS[key]}'


def walk(node: object, key: str = '') -> list[tuple[str, dict]]:
    """Lists every dict inside a config node with its dotted key, the node itself first."""
    children: Iterable[tuple[object, object]]
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


def _places(cfg: Config, variable: str) -> str:
    """The keys that have the value of one of the file's own variables."""
    places = [
        f'{key}.{name}'
        for section in KNOWN_KEYS
        for key, node in walk(cfg.get(section), section)
        for name, value in node.items()
        if value == cfg[variable]
    ]
    return ', '.join(places[:4])


@dataclass(frozen=True)
class _Section:
    """All dicts below a top-level key.

    Args:
        nodes: Dotted key to dict.
        scope: The default scope of the config.
    """

    nodes: dict[str, dict]
    scope: str

    def unknown(self) -> Iterator[tuple[str, str]]:
        for key, node in self.nodes.items():
            arguments = self._arguments(key, node)
            if arguments is None:
                continue
            for name in node:
                hint = None if name in arguments.names else _hint(name, arguments)
                if hint and not self._is_read_by_owner(name, key):
                    yield f'{key}.{name}', hint

    def _arguments(self, key: str, node: dict) -> Arguments | None:
        """What a dict may have; None if its reader is not known."""
        if _LAYERS & set(key.split('.')) or '_scope_' in node:
            return None
        if key in _PLAIN:
            return Arguments(frozenset(_PLAIN[key]), is_complete=True)
        reader, taken_out = _reader(key, node)
        registry, target = self._target(key, reader)
        if target is None:
            return None
        arguments = arguments_of(target)
        return arguments.with_names(taken_out | _ANYWHERE | _TAKEN_OUT.get(registry, set()))

    def _target(
        self, key: str, reader: str | Callable | None
    ) -> tuple[Registry | None, Callable | None]:
        """The class or function that a type means, and the registry that has it."""
        if not isinstance(reader, str):
            return None, reader
        for registry in _REGISTRIES.get(key.split('.')[0], ()):
            with registry.switch_scope_and_registry(self.scope) as own:
                try:
                    target = own.get(reader)
                except (KeyError, RuntimeError):
                    # Not in this registry.
                    continue
            if target is not None:
                return registry, target
        return None, None

    def _is_read_by_owner(self, name: str, key: str) -> bool:
        """Whether the dict, or one around it, is built by code that speaks of the key itself."""
        for owner, node in self.nodes.items():
            if key == owner or key.startswith(f'{owner}.'):
                _, target = self._target(owner, node.get('type'))
                if target is not None and names_literally(target, name):
                    return True
        return False


def _reader(key: str, node: dict) -> tuple[str | Callable | None, set[str]]:
    """The type that reads a dict, if it is known, and the keys that are taken out before."""
    if 'type' in node:
        return node['type'], set()
    if key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        return DataLoader, {'dataset', 'num_batch_per_epoch'}
    if key == 'train_cfg' and 'by_epoch' in node:
        return 'EpochBasedTrainLoop' if node['by_epoch'] else 'IterBasedTrainLoop', {'by_epoch'}
    if key == 'optim_wrapper' and 'optimizer' in node:
        return 'OptimWrapper', set()
    readers = dict(
        val_cfg='ValLoop', test_cfg='TestLoop', randomness=set_random_seed,
        log_processor=LogProcessor,
    )  # fmt: skip
    return readers.get(key), set()


def _hint(name: str, arguments: Arguments) -> str | None:
    """What to say of a key that is no argument; None if it may be one all the same."""
    names = sorted(arguments.names - _ANYWHERE)
    cutoff = 0.6 if arguments.is_complete else _NEAR
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    if near:
        return f'did you mean {near[0]!r}?'
    return f'there are {", ".join(names)}' if arguments.is_complete else None

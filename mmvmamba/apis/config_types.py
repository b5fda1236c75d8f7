"""Which types a config may name that comes from a stranger.

mmengine takes a type that no registry has for the name of any function there is, and mmcv
evaluates the name of a suppression as Python, so that ``{"type": "os.system"}`` would run. What is
let through here is registered by a toolbox, and is a part of a network or of a pipeline.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module

from mmengine.registry import MODELS, TASK_UTILS, TRANSFORMS, WEIGHT_INITIALIZERS, Registry

from mmvmamba.checkpoint import CheckpointError

__all__ = ['refuse_unknown_types']

REGISTRIES = (MODELS, TASK_UTILS, TRANSFORMS, WEIGHT_INITIALIZERS)
SCOPES = ('mmengine', 'mmvmamba', 'mmdet', 'mmseg', 'mmpretrain')
# What mmcv and mmdet look up by itself: suppressions, and layers that cut out regions.
OPERATORS = ('nms', 'soft_nms', 'RoIAlign', 'RoIPool', 'SimpleRoIAlign', 'DeformRoIPoolPack')
# Elsewhere there are classes that download, unpickle or evaluate what their arguments name.
MODULES = (
    'mmvmamba.',
    'mmengine.model.',
    'mmengine.utils.dl_utils.parrots_wrapper.',
    'mmcv.cnn.',
    'mmcv.ops.',
    'mmcv.transforms.',
    'torch.nn.',
    'mmdet.models.',
    'mmdet.datasets.transforms.',
    'mmseg.models.',
    'mmseg.datasets.transforms.',
    'mmpretrain.models.classifiers.image',
    'mmpretrain.models.heads.',
    'mmpretrain.models.losses.',
    'mmpretrain.models.necks.',
    'mmpretrain.models.utils.data_preprocessor',
    'mmpretrain.datasets.transforms.',
)
REFUSED_MODULES = ('mmdet.models.task_modules.tracking.', 'mmpretrain.models.necks.mae_neck')


def refuse_unknown_types(parts: object, default_scope: str, source: str) -> None:
    """Looks at every ``type`` in a config.

    Args:
        parts: The config, or a list of parts of it.
        default_scope: The scope of a type that is named without one.
        source: Name of the file, for messages.

    Raises:
        CheckpointError: One is not let through.
    """
    for name in _types(parts):
        if not isinstance(name, str) or not _is_known(name, default_scope):
            raise CheckpointError(
                f'{source} names the type {name!r}, which is no part of a network or pipeline that '
                f'{default_scope} or mmvmamba registers: such a file may run anything. Build the '
                'model from a config file that you have read, and load the weights into it'
            )


def _types(part: object) -> Iterator[object]:
    if isinstance(part, Mapping):
        if 'type' in part:
            yield part['type']
        part = list(part.values())
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _types(inner)


def _is_known(name: str, default_scope: str) -> bool:
    if name in OPERATORS:
        return True
    scope, _, key = name.rpartition('.')
    scopes = (scope,) if scope else (default_scope, 'mmengine')
    if not set(scopes) <= set(SCOPES):
        return False
    found = [
        registry.module_dict[key]
        for root in REGISTRIES
        for registry in _registries(root, scopes)
        if key in registry.module_dict
    ]
    return bool(found) and all(_is_harmless(entry) for entry in found)


def _registries(root: Registry, scopes: tuple[str, ...]) -> Iterator[Registry]:
    for scope in scopes:
        # A registry is known to its root once it is imported.
        import_module(f'{scope}.registry')
        registry = root if scope == 'mmengine' else root.children.get(scope)
        if registry is not None:
            registry.import_from_location()
            yield registry


def _is_harmless(entry: object) -> bool:
    module = f'{getattr(entry, "__module__", "")}.'
    return module.startswith(MODULES) and not module.startswith(REFUSED_MODULES)

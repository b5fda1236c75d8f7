"""Loads weights into models, and accounts for every key that does not fit."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from torch import Tensor, nn

from .convert import Converted, convert, family_of_backbone
from .safe_load import CheckpointError, read_checkpoint
from .sources import locate

__all__ = [
    'fit_state_dict',
    'load_backbone',
    'load_converted',
    'load_model',
    'split_init_cfg',
]

StateDict = dict[str, Tensor]


@dataclass
class Misfit:
    """The keys in which a state dict and a module differ."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        parts = (
            ('missing in the file', self.missing),
            ('not in the model', self.unexpected),
            ('of another shape', self.shapes),
        )
        return '; '.join(f'{len(keys)} {what}: {_some(keys)}' for what, keys in parts if keys)


def load_converted(
    source: str | Path,
    entry: str | None = None,
    family: str | None = None,
    map_location: str = 'cpu',
    allow_pickle: bool = False,
) -> Converted:
    """Reads a checkpoint of any source and layout and gives its keys our names.

    Args:
        source: See ``locate``.
        entry: The entry of the file to take, such as 'model_ema'.
        family: The family it must be of; by default any.
        map_location: Where tensors are put.
        allow_pickle: Whether to run what is pickled in the file; only for files whose source is
            trusted.
    """
    checkpoint = read_checkpoint(locate(source), map_location, allow_pickle)
    converted = convert(checkpoint, str(source), entry, family)
    if converted.is_changed:
        print_log(
            f'{source}: {converted.family} weights in the {converted.style} layout'
            + ('' if converted.entry is None else f', entry {converted.entry!r}')
            + f', {len(converted.renamed)} keys renamed'
            + (f', left out: {_some(converted.dropped)}' if converted.dropped else ''),
            logger='current',
        )
    return converted


def load_model(
    model: nn.Module,
    weights: str | Path | Converted,
    entry: str | None = None,
    family: str | None = None,
    new_head: bool = False,
) -> None:
    """Loads a classifier, detector or segmentor strictly.

    Args:
        model: The model.
        weights: What ``load_converted`` gave, or its source.
        entry: The entry of the file to take, such as 'model_ema'.
        family: The family it must be of; by default any.
        new_head: Whether a classification head of another size is left as it is.

    Raises:
        CheckpointError: The file and the model do not fit.
    """
    if not isinstance(weights, Converted):
        weights = load_converted(weights, entry, family)
    state = dict(weights.state_dict)
    own = model.state_dict()
    left = [
        key
        for key in ('head.fc.weight', 'head.fc.bias')
        if new_head and key in state and key in own and state[key].shape != own[key].shape
    ]
    if left:
        state |= {key: own[key] for key in left}
        print_log(f'{weights.source}: {_some(left)} not loaded, of another size', 'current')
    unused: tuple[str, ...] = ()
    if not any(key.startswith('head.') for key in own):
        # Files of detectors and segmentors hold what their backbones have from classification.
        head_only = getattr(getattr(model, 'backbone', None), 'head_only_keys', ())
        unused = tuple(rf'backbone\.{key}' for key in head_only)
    left_out, _ = _fit_and_load(model, state, weights.source, unused, ())
    if left_out:
        print_log(f'{weights.source}: not used: {_some(left_out)}', 'current')


def load_backbone(
    backbone: nn.Module,
    checkpoint: str | Path,
    prefix: str | None = None,
    map_location: str = 'cpu',
    entry: str | None = None,
) -> None:
    """Loads a backbone from the file of a classifier, a detector, a segmentor or a backbone.

    What only classification needs is left out, and what the file cannot have (norms and adapters of
    detectors) keeps its initial values; one log line names both. Any other difference is an error.

    Args:
        backbone: The backbone.
        checkpoint: See ``locate``.
        prefix: Where the backbone is in the file; by default ``backbone`` if there is such a thing.
        map_location: Where tensors are put before they are copied.
        entry: The entry of the file to take, such as 'model_ema'.

    Raises:
        CheckpointError: The file and the backbone do not fit.
    """
    converted = load_converted(checkpoint, entry, map_location=map_location)
    family = family_of_backbone(type(backbone))
    name = type(backbone).__name__
    if family and converted.family and family.name != converted.family:
        raise CheckpointError(
            f'{checkpoint} holds {converted.family} weights, {name} takes those of {family.name}'
        )
    state, outside = _backbone_part(converted.state_dict, backbone, prefix, str(checkpoint))
    left_out, new = _fit_and_load(
        backbone,
        state,
        str(checkpoint),
        getattr(backbone, 'head_only_keys', ()),
        getattr(backbone, 'task_only_keys', ()),
    )
    print_log(
        f'{name} loaded from {checkpoint}'
        + (f'; not used: {_some(outside + left_out)}' if outside or left_out else '')
        + (f'; new: {_some(new)}' if new else ''),
        logger='current',
    )


def split_init_cfg(init_cfg: dict | list | None) -> tuple[list[dict], list[dict]]:
    """Parts the initialisers of a module from the arguments of those that load a checkpoint."""
    cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or ())
    pretrained = [cfg for cfg in cfgs if cfg.get('type') in ('Pretrained', PretrainedInit)]
    others = [cfg for cfg in cfgs if cfg not in pretrained]
    return others, [{k: v for k, v in cfg.items() if k != 'type'} for cfg in pretrained]


def fit_state_dict(backbone: nn.Module, state: StateDict, prefix: str) -> None:
    """Makes a state dict fit a backbone before it is loaded, in place.

    Keeps the ``backbone.`` part alone if the backbone is loaded by itself from the file of a whole
    model, and lets the backbone change what is for another image size or task.
    """
    if not prefix:
        own = backbone.state_dict()
        inner = {key for key in state if key.startswith('backbone.')}
        if inner and not any(key in own for key in state):
            outside = [key for key in state if key not in inner]
            found = {key.removeprefix('backbone.'): state[key] for key in inner}
            state.clear()
            state.update(found)
            print_log(
                f'{type(backbone).__name__} takes the keys under "backbone."'
                + (f'; not used: {_some(_first_parts(outside))}' if outside else ''),
                logger='current',
            )
    part = {key: state.pop(key) for key in list(state) if key.startswith(prefix)}
    part = {key.removeprefix(prefix): tensor for key, tensor in part.items()}
    backbone.fit_checkpoint(part)
    state.update({prefix + key: tensor for key, tensor in part.items()})


def _backbone_part(
    state: StateDict, backbone: nn.Module, prefix: str | None, source: str
) -> tuple[StateDict, list[str]]:
    """The backbone's own keys, and the first parts of all others."""
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in state) else ''
        if not prefix and not any(key in state for key in backbone.state_dict()):
            raise CheckpointError(
                f'{source} has no keys of {type(backbone).__name__}; its keys start with '
                f'{_some(_first_parts(state))}. Say with prefix=... where the backbone is'
            )
    part = _take_prefix(state, prefix, source)
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    return part, _first_parts(key for key in state if not key.startswith(start))


def _take_prefix(state: StateDict, prefix: str, source: str) -> StateDict:
    if not prefix:
        return state
    start = f'{prefix.rstrip(".")}.'
    part = {key.removeprefix(start): state[key] for key in state if key.startswith(start)}
    if not part:
        raise CheckpointError(
            f'{source} has no keys under {start!r}; its keys start with '
            f'{_some(_first_parts(state))}'
        )
    return part


def _fit_and_load(
    module: nn.Module,
    state: StateDict,
    source: str,
    may_be_unexpected: Iterable[str],
    may_be_missing: Iterable[str],
) -> tuple[list[str], list[str]]:
    """Loads a state dict. Returns the keys left out of the file, and those the module has anew."""
    for name, part in module.named_modules():
        if hasattr(part, 'fit_checkpoint'):
            fit_state_dict(part, state, f'{name}.' if name else '')
    own = module.state_dict()
    left_out = [key for key in state if key not in own and _matches(key, may_be_unexpected)]
    new = [key for key in own if key not in state and _matches(key, may_be_missing)]
    misfit = Misfit(
        missing=[
            key
            for key in own
            if key not in state and key not in new and not key.endswith('num_batches_tracked')
        ],
        unexpected=[key for key in state if key not in own and key not in left_out],
        shapes=[
            f'{key} {tuple(tensor.shape)} in the file, {tuple(own[key].shape)} in the model'
            for key, tensor in state.items()
            if key in own and own[key].shape != tensor.shape
        ],
    )
    if misfit:
        raise CheckpointError(f'{source} does not fit {type(module).__name__}: {misfit}')
    if new and not set(own) - set(new):
        raise CheckpointError(f'{source} has none of the keys of {type(module).__name__}')
    module.load_state_dict({key: state[key] for key in state if key in own}, strict=False)
    return left_out, new


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(re.match(pattern, key) for pattern in patterns)


def _first_parts(keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(f'{key.split(".")[0]}.*' if '.' in key else key for key in keys))


def _some(keys: Iterable[str], count: int = 8) -> str:
    names = list(keys)
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more

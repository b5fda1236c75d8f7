"""Compares a state dict with a module, key by key."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mmvmamba.models.backbones.base import FITTED, BaseBackbone

from .safe_load import CheckpointError

__all__ = ['Fit', 'Misfit', 'MisfitError', 'compare', 'fit', 'some']

StateDict = dict[str, Tensor]


class MisfitError(CheckpointError):
    """A file that does not fit the model, though a part of it may."""


@dataclass
class Misfit:
    """The keys in which a state dict and a module differ.

    Args:
        missing: Keys that the file lacks.
        unexpected: Keys that the module lacks.
        shapes: Keys of another shape, each with the two shapes in words.
    """

    missing: list[str]
    unexpected: list[str]
    shapes: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        parts = (
            ('missing in the file', self.missing),
            ('not in the model', self.unexpected),
            ('of another shape', [f'{key} {shapes}' for key, shapes in self.shapes.items()]),
        )
        return '; '.join(f'{len(keys)} {what}: {some(keys)}' for what, keys in parts if keys)


@dataclass
class Fit:
    """What a module takes of a state dict.

    Args:
        state_dict: Keys and tensors that fit.
        left_out: Keys of the file that are not used.
        new: Keys of the module that keep their values.
    """

    state_dict: StateDict
    left_out: list[str]
    new: list[str]

    def load_into(self, module: nn.Module) -> None:
        module.load_state_dict(self.state_dict, strict=False)


def compare(module: nn.Module, state: Mapping[str, Tensor]) -> Misfit:
    """Finds the keys in which a state dict and a module differ; BatchNorm may lack its counts."""
    own = module.state_dict()
    return Misfit(
        missing=[
            key for key in own if key not in state and not key.endswith('num_batches_tracked')
        ],
        unexpected=[key for key in state if key not in own],
        shapes={
            key: f'{tuple(tensor.shape)} in the file, {tuple(own[key].shape)} in the model'
            for key, tensor in state.items()
            if key in own and own[key].shape != tensor.shape
        },
    )


def fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    *,
    may_be_unexpected: Iterable[str] = (),
    may_be_missing: Iterable[str] = (),
    may_differ: Iterable[str] = (),
    allow_partial: bool = False,
) -> Fit:
    """Makes a state dict fit a module; the module is not changed.

    Args:
        module: The module, on any device.
        state: The state dict, which is not changed.
        source: Name of the file, for messages.
        may_be_unexpected: Patterns of keys that the module may lack.
        may_be_missing: Patterns of keys that the file may lack.
        may_differ: Patterns of keys that may be of another shape and are then left as they are.
        allow_partial: Whether any key may be all of these.

    Raises:
        MisfitError: The two do not fit.
        CheckpointError: They have nothing in common.
    """
    state = dict(state)
    metadata = OrderedDict()
    for name, part in module.named_modules():
        if isinstance(part, BaseBackbone):
            part.fit_state_dict(state, f'{name}.' if name else '')
            metadata[name] = {FITTED: True}
    differences = compare(module, state)
    rest = Misfit(
        missing=_others(differences.missing, may_be_missing),
        unexpected=_others(differences.unexpected, may_be_unexpected),
        shapes={key: differences.shapes[key] for key in _others(differences.shapes, may_differ)},
    )
    name = type(module).__name__
    if rest and not allow_partial:
        raise MisfitError(f'{source} does not fit {name}: {rest}')
    unused = {*differences.unexpected, *differences.shapes}
    # torch passes on an attribute of this class what each module has to know of its part.
    fitting = OrderedDict((key, state[key]) for key in state if key not in unused)
    fitting._metadata = metadata  # type: ignore[attr-defined]  # of torch's making
    if not fitting:
        raise CheckpointError(f'{source} has none of the keys of {name}')
    return Fit(
        state_dict=fitting,
        left_out=[*differences.unexpected, *differences.shapes],
        new=[*differences.missing, *differences.shapes],
    )


def some(keys: Iterable[str], count: int = 8) -> str:
    """The first of some names and the number of the others, for messages."""
    names = [str(key) for key in keys]
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more


def _others(keys: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [key for key in keys if not any(re.match(pattern, key) for pattern in patterns)]

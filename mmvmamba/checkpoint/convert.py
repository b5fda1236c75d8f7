"""Turns what a file holds into the layout of an OpenMMLab model, and accounts for each key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .family import FAMILIES, Family, Style
from .fitting import some
from .safe_load import CheckpointError

__all__ = ['ENTRIES', 'Converted', 'convert', 'family_of_backbone', 'is_state_dict']

ENTRIES = ('state_dict', 'model', 'state_dict_ema', 'model_ema')
"""Entries of a file that may hold weights, in the order of preference."""

StateDict = dict[str, Tensor]
Names = Mapping[str, str | None]


@dataclass
class Converted:
    """A state dict in our layout and how it came about.

    Args:
        state_dict: The tensors.
        family: Name of the family, None if the keys are of no family here; such files are passed on
            unchanged.
        style: How the file named its keys; 'openmmlab' if they were ours already.
        source: Name of the file.
        entry: The entry of the file that was read, None for a flat file.
        renamed: New names by old names, where they differ.
        dropped: Keys that were left out.
        meta: The ``meta`` entry of the file.
    """

    state_dict: StateDict
    family: str | None
    style: str
    source: str
    entry: str | None = None
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    meta: dict = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        return bool(self.renamed or self.dropped)


def family_of_backbone(backbone: type) -> Family | None:
    """The family whose weights a backbone class takes; a subclass takes those of its base."""
    name = getattr(backbone, 'family', None)
    return None if name is None else FAMILIES.get(name)


def convert(
    checkpoint: Mapping, source: str, entry: str | None = None, family: str | None = None
) -> Converted:
    """Finds the weights in what a file holds and gives them our names.

    Args:
        checkpoint: What ``read_checkpoint`` returned.
        source: Name of the file, for messages.
        entry: The entry that holds the weights wanted, such as 'model_ema'; by default the first of
            ``ENTRIES`` there is.
        family: Name of the family; by default it is found by the keys.

    Raises:
        CheckpointError: There are no weights, the family asked for is another one, or keys are left
            that no rule knows.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f'family must be one of {list(FAMILIES)}, got {family!r}')
    entry, weights = _select_entry(checkpoint, source, entry)
    inner = _strip_wrappers(list(weights))
    found, style, ours = _our_names([name for name in inner.values() if name is not None], source)
    if family is not None and found != family:
        raise CheckpointError(
            f'{source} was to hold {family} weights, but its keys are '
            f'{"of no family known here" if found is None else f"those of {found}"}: '
            f'{some(weights)}'
        )
    names = {key: None if name is None else ours[name] for key, name in inner.items()}
    if found is None:
        names = {key: key for key in weights}
    meta = checkpoint.get('meta')
    return Converted(
        state_dict={name: weights[key] for key, name in names.items() if name is not None},
        family=found,
        style=style,
        source=source,
        entry=entry,
        renamed={key: name for key, name in names.items() if name is not None and name != key},
        dropped=[key for key, name in names.items() if name is None],
        meta=meta if isinstance(meta, dict) else {},
    )


def _select_entry(
    checkpoint: Mapping, source: str, entry: str | None
) -> tuple[str | None, StateDict]:
    found = [name for name in ENTRIES if is_state_dict(checkpoint.get(name))]
    if entry is not None and not is_state_dict(checkpoint.get(entry)):
        raise CheckpointError(
            f'{source} has no weights under {entry!r}; weights are under {found or "no entry"}, '
            f'and its entries are {some(checkpoint)}'
        )
    entry = entry or next(iter(found), None)
    if entry is not None:
        return entry, dict(checkpoint[entry])
    if is_state_dict(checkpoint):
        return None, dict(checkpoint)
    raise CheckpointError(
        f'{source} holds no weights: expected a state dict, or one under any of {ENTRIES}; found '
        f'{some(checkpoint)}'
    )


def is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(part, Tensor) for key, part in value.items())
    )


def _strip_wrappers(keys: list[str]) -> Names:
    """Cuts the prefixes that wrappers write before every key."""
    names = {key: key for key in keys}
    for prefix in ('module.', '_orig_mod.', 'model.'):
        if all(name.startswith(prefix) for name in names.values()):
            names = {key: name.removeprefix(prefix) for key, name in names.items()}
    # Self-supervised files keep the backbone under this name, beside what is of no use here.
    if min(names.values()).startswith('encoder.'):
        return {
            key: name.removeprefix('encoder.') if name.startswith('encoder.') else None
            for key, name in names.items()
        }
    return names


def _our_names(keys: list[str], source: str) -> tuple[str | None, str, Names]:
    """The family, the style of the file, and our name of every key: None for a dropped one."""
    for family in FAMILIES.values():
        style = family.style_of(keys)
        if style is not None:
            return family.name, style.name, _names_by_style(keys, family, style, source)
    backbone = [key.removeprefix('backbone.') for key in keys if key.startswith('backbone.')]
    for family in FAMILIES.values():
        if backbone and family.owns_backbone(backbone):
            unwanted = {key for key in keys if any(re.match(p, key) for p in family.dropped)}
            names = {key: None if key in unwanted else key for key in keys}
            return family.name, 'openmmlab', names
    return None, 'openmmlab' if backbone else 'unknown', {key: key for key in keys}


def _names_by_style(keys: list[str], family: Family, style: Style, source: str) -> Names:
    names = style.new_names(keys)
    unknown = [key for key in keys if key not in names]
    if unknown:
        raise CheckpointError(
            f'{source} looks like {family.name} weights ({style.name} layout), but no rule '
            f'explains {some(unknown)}'
        )
    return names

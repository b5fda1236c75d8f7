"""What a key map consists of: how the files of a family are recognised, and how their keys become
ours.

Our layout is that of an OpenMMLab model: ``backbone.*`` with the official keys, ``neck.*`` and
``head.fc.*`` for a classifier.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ['FAMILIES', 'Family', 'HubFormat', 'Style', 'register_family']


@dataclass(frozen=True)
class Style:
    """One way in which the official files of a family name their keys.

    Args:
        name: Who writes files like this.
        marks: Keys that together are found in these files and in no others.
        renames: Pairs of a pattern and its replacement; the first pattern that matches a key
            applies. Without a replacement the key is dropped, and named in the report. A key that
            no pattern matches is an error.
    """

    name: str
    marks: tuple[str, ...]
    renames: tuple[tuple[str, str | None], ...]

    def matches(self, keys: Collection[str]) -> bool:
        return all(mark in keys for mark in self.marks)

    def new_names(self, keys: Collection[str]) -> dict[str, str | None]:
        """New names by old ones: None for a dropped key, no entry for one that no pattern knows."""
        names = {}
        for key in keys:
            for pattern, replacement in self.renames:
                match = re.match(pattern, key)
                if match:
                    rest = key[match.end() :]
                    names[key] = None if replacement is None else match.expand(replacement) + rest
                    break
        return names


@dataclass(frozen=True)
class HubFormat:
    """What ``config.json`` says in the folders that a family's authors put on the Hugging Face hub.

    Args:
        model_type: Its entry of that name.
        backbone: Gives the arguments of the backbone for its entries.
        img_size: Gives the side of the images that the model was trained on.
    """

    model_type: str
    backbone: Callable[[Mapping[str, Any]], dict[str, Any]]
    img_size: Callable[[Mapping[str, Any]], int]


@dataclass(frozen=True)
class Family:
    """The key map of a family.

    Args:
        name: Lower-case name, the first part of model names; backbones call it their ``family``.
        styles: Styles of its official files, besides those that have our names.
        backbone_marks: Backbone keys, without a prefix, that tell its detectors and segmentors.
        dropped: Patterns of keys in its OpenMMLab files that are no weights of the model.
        hub: The format of its official folders on the Hugging Face hub, if they describe the model.
    """

    name: str
    styles: tuple[Style, ...]
    backbone_marks: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    hub: HubFormat | None = None

    def style_of(self, keys: Collection[str]) -> Style | None:
        """The style of an official file with these keys, None if it is none of this family."""
        return next((style for style in self.styles if style.matches(keys)), None)

    def owns_backbone(self, keys: Collection[str]) -> bool:
        return all(mark in keys for mark in self.backbone_marks)


FAMILIES: dict[str, Family] = {}
"""The key maps by name; ``mmvmamba.checkpoint`` imports the modules that register them."""


def register_family(family: Family) -> None:
    """Adds a key map to ``FAMILIES``."""
    if family.name in FAMILIES:
        raise ValueError(f'there is a family {family.name!r} already')
    FAMILIES[family.name] = family

"""What every layout of a folder of a user's own images has."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mmengine.config import Config

from mmvmamba.apis.catalogue import CatalogueEntry
from mmvmamba.cli.errors import UserError
from mmvmamba.cpus import usable_cpus

__all__ = [
    'HEAD',
    'VALIDATION',
    'FoundData',
    'Settings',
    'first_file',
    'first_folder',
    'incomplete',
]

# How the text of every config begins.
HEAD = """# Fine-tuning {model} on the {train} training and {val} validation images of {root}.
# Written by mmvmamba train --data; repeat or change it: mmvmamba train {path}
_base_ = {base!r}

data_root = {root!r}
"""
VALIDATION = ('val', 'valid', 'validation')


@dataclass(frozen=True)
class Settings:
    """What a user may say of a training on a folder.

    Args:
        entry: The model.
        path: Where the config goes.
        epochs: How long to train.
        weights: Where to begin: a file or an address, 'none' for random weights, None for the
            official ones.
    """

    entry: CatalogueEntry
    path: Path
    epochs: int
    weights: str | None = None


@dataclass(frozen=True)
class FoundData(ABC):
    """A folder whose layout is known.

    Args:
        root: The folder.
        classes: Names of the classes, in the order of their labels.
        train: Number of images for training.
        val: Number of images for validation.
        files: Contents of files that the config names and that are written beside it, by name.
    """

    root: Path
    classes: tuple[str, ...]
    train: int
    val: int
    files: dict[str, str] = field(default_factory=dict, kw_only=True)

    layout: ClassVar[str]
    task: ClassVar[str]

    @abstractmethod
    def config(self, settings: Settings) -> str:
        """The text of a config that fine-tunes a model on the folder."""

    def suits(self, model: Config) -> bool:
        """Whether a model of the task uses what the folder has to be learnt, and no more."""
        return True

    def __str__(self) -> str:
        return (
            f'{self.layout}, {len(self.classes)} classes, {self.train} images for training and '
            f'{self.val} for validation'
        )

    def common(self, settings: Settings, batch_size: int) -> dict[str, object]:
        """What the texts of all configs say, for ``str.format``."""
        workers = min(4, usable_cpus() - 1)
        steps = settings.epochs * math.ceil(self.train / batch_size)
        return dict(
            model=settings.entry.name,
            base=str(settings.entry.config),
            path=settings.path,
            root=str(self.root),
            layout=self.layout,
            classes=self.classes,
            train=self.train,
            val=self.val,
            batch_size=batch_size,
            epochs=settings.epochs,
            workers=workers,
            persistent=workers > 0,
            # One step alone would never come to the rate: it is the last of the warm-up that does.
            warmup=max(2, min(500, steps // 10)),
        )


def first_folder(parent: Path, names: Sequence[str]) -> str | None:
    """The first of some names that is a folder."""
    return next((name for name in names if (parent / name).is_dir()), None)


def first_file(parent: Path, names: Sequence[str]) -> str | None:
    """The first of some names that is a file."""
    return next((name for name in names if (parent / name).is_file()), None)


def incomplete(root: Path, layout: str, problem: str, looked_for: str) -> UserError:
    """The error for a folder whose layout is known, and which lacks a part of it."""
    return UserError(f'--data {root} holds {layout}, but {problem}; looked for {looked_for}')

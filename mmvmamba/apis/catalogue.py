"""Everything there is to choose from: the models of the metafiles and of the shipped configs."""

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from .metafiles import (
    CLASSIFIERS,
    TASKS,
    config_root,
    plain_name,
    read_collections,
    read_metafile,
    task_configs,
    without_recipe,
)

__all__ = ['CatalogueEntry', 'catalogue', 'find_entry']

FOLDERS = {'classification': CLASSIFIERS, **TASKS}


@dataclass(frozen=True)
class CatalogueEntry:
    """A model, as far as it is known without building it.

    Args:
        name: Its name for ``get_model``.
        task: 'classification', 'detection' or 'segmentation'.
        config: The shipped config.
        collection: The family's entry of the metafile: paper, code, licences; empty if the model is
            in no metafile.
        params: Number of parameters; None if the model is in no metafile.
        figures: Published figures by data set and metric, such as ``{'COCO box AP': 44.1}``.
        weights: Address of the official file; None if there is none.
        aliases: Names under which the authors or timm registered it.
    """

    name: str
    task: str
    config: Path
    collection: dict
    params: int | None = None
    figures: dict[str, float] | None = None
    weights: str | None = None
    aliases: tuple[str, ...] = ()


def catalogue(pattern: str | None = None, task: str | None = None) -> list[CatalogueEntry]:
    """Lists the models with what is published of them.

    Args:
        pattern: Shell-like pattern of names, such as ``'vim*'``; without a wildcard, a part of one.
        task: 'classification', 'detection' or 'segmentation'; None for all.

    Raises:
        ValueError: There is no such task.
    """
    if task is not None and task not in FOLDERS:
        raise ValueError(f'task must be one of {list(FOLDERS)} or None, got {task!r}')
    found = [entry for each in FOLDERS if task in (None, each) for entry in _entries(each)]
    if pattern is None:
        return found
    if not set(pattern) & set('*?['):
        pattern = f'*{pattern}*'
    return [entry for entry in found if fnmatch.fnmatch(entry.name.lower(), pattern.lower())]


def find_entry(name: str) -> CatalogueEntry | None:
    """The entry of a model by its name or an alias, whatever its case; None if there is none."""
    names = {
        plain_name(alias): entry for entry in catalogue() for alias in (entry.name, *entry.aliases)
    }
    return names.get(plain_name(name)) or names.get(without_recipe(plain_name(name)))


def _entries(task: str) -> list[CatalogueEntry]:
    rows = read_metafile(FOLDERS[task])
    entries = [_entry(task, row) for row in rows.values()]
    if task in TASKS:
        entries += [
            CatalogueEntry(name, task, path, {})
            for name, path in task_configs(task).items()
            if name not in rows
        ]
    return entries


def _entry(task: str, row: dict) -> CatalogueEntry:
    return CatalogueEntry(
        name=row['Name'],
        task=task,
        config=config_root().parent / row['Config'],
        collection=read_collections()[row['In Collection']],
        params=row['Metadata']['Parameters'],
        figures={
            f'{result["Dataset"]} {metric}': value
            for result in row.get('Results', ())
            for metric, value in result['Metrics'].items()
        },
        weights=row.get('Weights'),
        aliases=tuple(row.get('Alias', ())),
    )

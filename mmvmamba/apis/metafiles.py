"""The metafiles beside the configs: what was published of each model, its weights and licences."""

from functools import cache
from pathlib import Path

import yaml

__all__ = ['config_root', 'read_collections', 'read_metafile']

# The metafile of this folder has the collections of all.
CLASSIFIERS = 'cls'


def config_root() -> Path:
    """The folder of the shipped configs."""
    package = Path(__file__).parents[1]
    # Beside the package in a checkout, inside it when installed.
    beside = package.parent / 'configs'
    return beside if (beside / 'det').is_dir() else package / '.mim' / 'configs'


def read_metafile(folder: str) -> dict[str, dict]:
    """The models of a metafile by name.

    Args:
        folder: 'cls', 'det' or 'seg'.
    """
    return {model['Name']: model for model in _read(folder)['Models']}


def read_collections() -> dict[str, dict]:
    """The collections by name; one is a family: its paper, and licences of its code and weights."""
    return {entry['Name']: entry for entry in _read(CLASSIFIERS)['Collections']}


@cache
def _read(folder: str) -> dict:
    path = config_root() / folder / 'metafile.yml'
    return yaml.load(path.read_text(), Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))

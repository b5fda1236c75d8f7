"""The metafiles beside the configs: what was published of each model, its weights and licences."""

import re
from functools import cache
from pathlib import Path

import yaml

__all__ = [
    'TASKS',
    'config_root',
    'plain_name',
    'read_collections',
    'read_metafile',
    'task_configs',
    'without_recipe',
]

# The metafile of this folder has the collections of all.
CLASSIFIERS = 'cls'
TASKS = {'detection': 'det', 'segmentation': 'seg'}


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


def task_configs(task: str | None = None) -> dict[str, Path]:
    """Config files of detectors or segmentors by model name, of one task or of both."""
    folders = TASKS.values() if task is None else (TASKS[task],)
    files = (file for folder in folders for file in (config_root() / folder).glob('*.py'))
    # The examples of fine-tuning are no models of their own.
    return {file.stem: file for file in sorted(files) if not file.stem.endswith('_example')}


def plain_name(name: str) -> str:
    """A model's name as it is compared: case, hyphens and underscores make no difference."""
    return name.lower().replace('-', '_')


def without_recipe(name: str) -> str:
    """A name of timm without the training recipe behind its dot, ``.sw_e450_in1k`` say."""
    return re.sub(r'\.\w*in\d+k$', '', name)


@cache
def _read(folder: str) -> dict:
    path = config_root() / folder / 'metafile.yml'
    return yaml.load(path.read_text(), Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))

"""The models with official weights, made from the metafile beside their configs.

The published figures are those of the authors' tables, not measured here.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmvmamba.checkpoint import FAMILIES

from .metafiles import (
    CLASSIFIERS,
    config_root,
    plain_name,
    read_collections,
    read_metafile,
    without_recipe,
)
from .preprocess import Preprocessing

__all__ = ['MODEL_TABLE', 'ModelInfo', 'find_model']


@dataclass(frozen=True)
class ModelInfo:
    """A classification model.

    Args:
        name: Our name: the family first, in lower case.
        config: The shipped config.
        params: Number of parameters.
        weights: Address of the official file, None if there is none.
        license: Licence of the official weights of the family.
        aliases: Names under which the authors or timm registered it.
        top1: Published top-1 accuracy in percent.
    """

    name: str
    config: Path
    params: int
    weights: str | None
    license: str
    aliases: tuple[str, ...]
    top1: float | None

    @property
    def family(self) -> str:
        """The first part of the name, as in ``mmvmamba.checkpoint.FAMILIES``."""
        return max((f for f in FAMILIES if self.name.startswith(f'{f}_')), key=len)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared: as in the test pipeline of the config."""
        return Preprocessing.from_pipeline(self.load_config().test_dataloader.dataset.pipeline)

    def load_config(self) -> Config:
        """Reads the shipped config."""
        # Types are named with their packages; nothing has to be imported to find them.
        return Config.fromfile(self.config, import_custom_modules=False)


def _row(model: dict) -> ModelInfo:
    (result,) = model.get('Results', [{}])
    return ModelInfo(
        name=model['Name'],
        config=config_root().parent / model['Config'],
        params=model['Metadata']['Parameters'],
        weights=model.get('Weights'),
        license=read_collections()[model['In Collection']]['License']['Weights'],
        aliases=tuple(model.get('Alias', ())),
        top1=result.get('Metrics', {}).get('Top 1 Accuracy'),
    )


MODEL_TABLE = {name: _row(model) for name, model in read_metafile(CLASSIFIERS).items()}
"""The classification models by name, in the order of the metafiles."""


def find_model(name: str) -> ModelInfo:
    """The row of a model, by our name or the official one.

    Upper and lower case are the same, and so are hyphens and underscores.

    Raises:
        ValueError: There is no such model; the message has the nearest names.
    """
    names = {
        plain_name(alias): row for row in MODEL_TABLE.values() for alias in (row.name, *row.aliases)
    }
    row = names.get(plain_name(name)) or names.get(without_recipe(plain_name(name)))
    if row is not None:
        return row
    near = difflib.get_close_matches(plain_name(name), names, n=3, cutoff=0.5)
    near = list(dict.fromkeys(names[alias].name for alias in near))
    hint = f' Did you mean {" or ".join(map(repr, near))}?' if near else ''
    raise ValueError(f'there is no model {name!r}; mmvmamba.list_models() names all.{hint}')

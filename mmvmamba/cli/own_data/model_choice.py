"""Which model is meant: one of the task, or the one that begins with a classifier's weights."""

import re

from mmengine.config import Config

from mmvmamba.apis.catalogue import CatalogueEntry, catalogue, find_entry
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.names import near_names

from .found import FoundData

__all__ = ['choose_model']

# How configs and the model index write the same file.
HUB = re.compile(r'https://huggingface\.co/([^/]+/[^/]+)/resolve/main/(.+)')
NOUNS = dict(classification='classifier', detection='detector', segmentation='segmentor')


def choose_model(name: str, found: FoundData) -> CatalogueEntry:
    """Finds the model for a folder.

    Args:
        name: That of a model of the folder's task; or that of a classifier, which for other tasks
            stands for a model that begins with its weights.
        found: The folder.

    Raises:
        UserError: There is none; with the names that are near.
    """
    entry = find_entry(name)
    if entry is not None and entry.task == found.task:
        return entry
    noun = NOUNS[found.task]
    if entry is not None and entry.task == 'classification':
        candidates = _built_on(entry, found)
        if candidates:
            return candidates[0]
        raise UserError(
            f'no {noun} begins with the weights of {entry.name}; mmvmamba list --task '
            f'{found.task} has those there are'
        )
    tasks = {found.task, 'classification'}
    names = [each.name for task in sorted(tasks) for each in catalogue(task=task)]
    more = '' if found.task == 'classification' else ' or the classifier that it begins with'
    raise UserError(
        f'--data holds {found.layout}: --model must be a {noun}{more}, got '
        f'{name!r}{near_names(name, names)}'
    )


def _built_on(classifier: CatalogueEntry, found: FoundData) -> list[CatalogueEntry]:
    """Models that begin with a classifier's weights; first those that learn all there is."""
    rated = []
    address = HUB.sub(r'hf://\1/\2', classifier.weights or '') or None
    for entry in catalogue(task=found.task):
        # Their texts tell: to read all these configs takes seconds.
        has_weights = address is not None and repr(address) in entry.config.read_text()
        if has_weights or entry.name.startswith(f'{classifier.name}_'):
            model = Config.fromfile(entry.config, import_custom_modules=False).model
            rated.append((not found.suits(model), entry))
    return [entry for _, entry in sorted(rated, key=lambda pair: pair[0])]

"""What ``config.json`` in a folder of Hugging Face says of a model: ours, and others that we read.

Ours has the model as a config of mmengine, in JSON. Other than a config file it is data, not a
program, and may come from anywhere: only types that are registered are built of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

import mmvmamba.models  # noqa: F401  registers what a config names
from mmvmamba.checkpoint import FAMILIES, CheckpointError
from mmvmamba.checkpoint.family import Family
from mmvmamba.version import __version__

from .classifiers import class_names, model_config
from .config_types import refuse_unknown_types
from .model_table import MODEL_TABLE, find_model
from .preprocess import MEAN, STD, Preprocessing

__all__ = [
    'CONFIG_NAME',
    'MODEL_TYPE',
    'ModelDescription',
    'describe_entries',
    'preprocessing_entries',
    'read_config_json',
]

CONFIG_NAME = 'config.json'
MODEL_TYPE = 'mmvmamba'
OUR_CLASS = 'VisionMambaForImageClassification'
SCOPES = dict(classification='mmpretrain', detection='mmdet', segmentation='mmseg')
TASK_MODULES = dict(
    classification='mmvmamba.models.classifiers',
    detection='mmvmamba.models.detectors',
    segmentation='mmvmamba.models.segmentors',
)
_LONGEST_CONFIG = 16 << 20


@dataclass(frozen=True)
class ModelDescription:
    """All that is needed to build a model but its weights.

    Args:
        task: 'classification', 'detection' or 'segmentation'.
        model: The config of the model.
        name: Its name in ``list_models``, if it has one.
        data_preprocessor: The config of a classifier's data preprocessor.
        preprocessing: How a classifier wants its images.
        pipeline: The test pipeline of a detector or segmentor.
        classes: Names of the classes, if they are known.
        palette: Their colours.
    """

    task: str
    model: dict
    name: str | None = None
    data_preprocessor: dict | None = None
    preprocessing: Preprocessing | None = None
    pipeline: Sequence[dict] = ()
    classes: Sequence[str] | None = None
    palette: Sequence | None = None

    @property
    def family(self) -> str | None:
        """The family of the backbone, as in ``mmvmamba.checkpoint.FAMILIES``."""
        return MODELS.get(self.model['backbone']['type']).family

    @property
    def dataset_meta(self) -> dict:
        meta = dict(classes=self.classes, palette=self.palette)
        return {key: value for key, value in meta.items() if value}

    def config(self) -> Config:
        """The model as a config of its toolbox."""
        pipeline = self.preprocessing.pipeline() if self.preprocessing else list(self.pipeline)
        parts = dict(
            default_scope=SCOPES[self.task],
            model=self.model,
            test_dataloader=dict(dataset=dict(metainfo=self.dataset_meta, pipeline=pipeline)),
        )
        if self.data_preprocessor is not None:
            parts['data_preprocessor'] = self.data_preprocessor
        return Config(parts)

    def entries(self) -> dict[str, Any]:
        """The entries of ``config.json``."""
        entries = dict(
            library_name='mmvmamba',
            mmvmamba_version=__version__,
            model_type=MODEL_TYPE,
            model_name=self.name,
            task=self.task,
            model=self.model,
        )
        if self.classes:
            entries['id2label'] = dict(enumerate(self.classes))
            entries['label2id'] = {name: i for i, name in enumerate(self.classes)}
        if self.preprocessing is None:
            return {**entries, 'pipeline': list(self.pipeline), 'palette': self.palette}
        return {
            **entries,
            'architectures': [OUR_CLASS],
            'data_preprocessor': self.data_preprocessor,
            **preprocessing_entries(self.preprocessing),
        }

    def with_classes(self, count: int) -> 'ModelDescription':
        """The same classifier with another number of classes; names of as many are kept."""
        if self.model['head']['num_classes'] == count:
            return self
        head = dict(self.model['head'], num_classes=count)
        classes = self.classes if self.classes and len(self.classes) == count else None
        return replace(self, model=dict(self.model, head=head), classes=classes)


def preprocessing_entries(preprocessing: Preprocessing) -> dict[str, Any]:
    return dict(
        image_size=preprocessing.img_size,
        mean=list(MEAN),
        std=list(STD),
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        interpolation='bicubic',
    )


def read_config_json(path: Path) -> ModelDescription:
    """Reads the ``config.json`` of a folder, by whomever it is.

    Raises:
        CheckpointError: It is damaged, or describes no model that is known here.
    """
    source = str(path)
    try:
        if path.stat().st_size > _LONGEST_CONFIG:
            raise CheckpointError(f'{source} is too long for a config.json')
        entries = json.loads(path.read_bytes())
    # RecursionError: nested lists without end.
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{source} is damaged: {error}') from error
    if not isinstance(entries, dict):
        raise CheckpointError(f'{source} is damaged: it holds a {type(entries).__name__}')
    return describe_entries(entries, source)


def describe_entries(entries: Mapping[str, Any], source: str) -> ModelDescription:
    """The model that the entries of a ``config.json`` describe.

    Args:
        entries: The entries.
        source: Name of the file, for messages.
    """
    try:
        if entries.get('model_type') == MODEL_TYPE:
            return _of_ours(entries, source)
        for family in FAMILIES.values():
            if family.hub and entries.get('model_type') == family.hub.model_type:
                return _of_family(entries, family)
        if isinstance(entries.get('architecture'), str):
            return _of_timm(entries)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        what = f'it has no {error}' if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f'{source} does not describe a model: {what}') from error
    known = [MODEL_TYPE, *(family.hub.model_type for family in FAMILIES.values() if family.hub)]
    raise CheckpointError(
        f'{source} describes no model that is known here: its model_type is '
        f'{entries.get("model_type")!r}, known are {known} and folders of timm'
    )


def _of_ours(entries: Mapping[str, Any], source: str) -> ModelDescription:
    _check(entries, source)
    id2label = entries.get('id2label') or {}
    is_classifier = entries['task'] == 'classification'
    return ModelDescription(
        task=entries['task'],
        model=entries['model'],
        name=entries.get('model_name'),
        data_preprocessor=entries.get('data_preprocessor') if is_classifier else None,
        preprocessing=_preprocessing(entries, entries['image_size']) if is_classifier else None,
        pipeline=_with_tuples(entries.get('pipeline') or []),
        classes=[id2label[key] for key in sorted(id2label, key=int)] or None,
        palette=entries.get('palette'),
    )


def _with_tuples(part: Any) -> Any:
    """Sizes as mmcv takes them: JSON has lists alone."""
    if isinstance(part, dict):
        return {key: _with_tuples(value) for key, value in part.items()}
    if not isinstance(part, list):
        return part
    if part and all(isinstance(item, int | float) for item in part):
        return tuple(part)
    return [_with_tuples(item) for item in part]


def _of_family(entries: Mapping[str, Any], family: Family) -> ModelDescription:
    assert family.hub is not None
    row = next(row for row in MODEL_TABLE.values() if row.family == family.name)
    id2label = entries.get('id2label') or {}
    classes = [id2label[key] for key in sorted(id2label, key=int)] or None
    config = model_config(row.name, len(classes or range(1000)), **family.hub.backbone(entries))
    preprocessing = _preprocessing(entries, family.hub.img_size(entries))
    return _of_config(config, None, preprocessing, classes)


def _of_timm(entries: Mapping[str, Any]) -> ModelDescription:
    row = find_model(entries['architecture'])
    settings = entries.get('pretrained_cfg') or {}
    classes = entries.get('num_classes', settings.get('num_classes', 1000))
    sizes = settings.get('input_size')
    preprocessing = _preprocessing(settings, sizes[-1]) if sizes else row.preprocessing
    return _of_config(model_config(row.name, classes), row.name, preprocessing, None)


def _of_config(
    config: Config,
    name: str | None,
    preprocessing: Preprocessing,
    classes: Sequence[str] | None,
) -> ModelDescription:
    entries = config.to_dict()
    return ModelDescription(
        'classification',
        entries['model'],
        name,
        entries['data_preprocessor'],
        preprocessing,
        classes=classes or class_names(entries['model']['head']['num_classes']),
    )


def _preprocessing(entries: Mapping[str, Any], img_size: int) -> Preprocessing:
    for name, ours in (('mean', MEAN), ('std', STD), ('interpolation', 'bicubic')):
        theirs = entries.get(name, ours)
        theirs = tuple(theirs) if isinstance(theirs, list) else theirs
        if theirs != ours:
            raise ValueError(f'images are prepared with {name} {ours} here, it says {theirs}')
    crop_mode = entries.get('crop_mode') or 'center'
    return Preprocessing(int(img_size), float(entries.get('crop_pct') or 1.0), crop_mode)


def _check(entries: Mapping[str, Any], source: str) -> None:
    if entries['task'] not in SCOPES:
        raise ValueError(f'task must be one of {list(SCOPES)}, got {entries["task"]!r}')
    if entries['task'] == 'classification' and 'num_classes' not in entries['model']['head']:
        raise ValueError('its head has no num_classes')
    backbone = entries['model']['backbone']['type']
    if not str(backbone).startswith('mmvmamba.'):
        raise ValueError(f'the backbone must be one of mmvmamba, got {backbone!r}')
    # As configs of the task do; what it registers wants the task's toolbox.
    import_module(TASK_MODULES[entries['task']])
    parts = [entries['model'], entries.get('data_preprocessor'), entries.get('pipeline')]
    refuse_unknown_types(parts, SCOPES[entries['task']], source)

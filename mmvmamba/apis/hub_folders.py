"""Models of folders and files in the layouts that are found on the Hugging Face hub."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mmvmamba.checkpoint import CheckpointError, load_converted, load_model
from mmvmamba.checkpoint.sources import fetch_from_hub

from .classifiers import (
    build_classifier,
    build_named_model,
    check_class_count,
    check_overrides,
    class_names,
)
from .descriptions import CONFIG_NAME, ModelDescription, read_config_json
from .identify import identify_model
from .model_table import MODEL_TABLE
from .provenance import mark_official
from .task_models import TASK_WEIGHTS, attach_config, build_from_config, task_configs

__all__ = ['build_described', 'find_folder', 'load_pretrained']

HUB = 'https://huggingface.co'
# No name begins with a dot, as paths do.
_REPOSITORY = re.compile(r'(?:hf://)?(\w[\w.-]*/\w[\w.-]*)(?:/(.+))?')
_WEIGHTS = ('.pth', '.pth.tar', '.bin', '.safetensors')


def load_pretrained(
    source: str | Path,
    filename: str | None = None,
    num_classes: int | None = None,
    backbone_overrides: dict | None = None,
    hub_options: dict[str, Any] | None = None,
) -> Any:
    """Builds and loads the model of a folder, a file or a repository.

    Args:
        source: See ``PretrainedModel.from_pretrained``.
        filename: The file of weights in it, where there are several.
        num_classes: Number of classes of a classifier; None for that of the weights.
        backbone_overrides: Arguments of the backbone.
        hub_options: Those of ``fetch_from_hub``.
    """
    check_class_count(num_classes)
    path, repo = find_folder(source, filename, hub_options)
    if path.is_dir() and (path / CONFIG_NAME).is_file():
        description = read_config_json(path / CONFIG_NAME)
        name = _name_in_repository(repo)
        description = replace(description, name=name) if name else description
        model: Any = _load_described(description, path, num_classes, backbone_overrides)
        mark_official(model, name is not None)
        return model
    if path.is_dir():
        path = _only_file(path)
    name = _name_of_file(path)
    model = build_named_model(name, path, num_classes, None, backbone_overrides or {})
    mark_official(model, repo is not None and name in _files_of(repo).values())
    return model


def find_folder(
    source: str | Path, filename: str | None = None, hub_options: dict[str, Any] | None = None
) -> tuple[Path, str | None]:
    """The local path of a folder or file, and the repository that it is from.

    Raises:
        FileNotFoundError: There is no such thing.
        ValueError: It is not said which of several files is meant.
    """
    if not source:
        raise ValueError(f'name a folder, a file or a repository, got {source!r}')
    path = Path(source).expanduser()
    if path.exists():
        path = path / filename if filename else path
        if not path.exists():
            raise FileNotFoundError(f'there is no {path}')
        return path, None
    match = _REPOSITORY.fullmatch(str(source))
    if match is None:
        raise FileNotFoundError(
            f'there is no folder {source}, and it names no repository of the Hugging Face hub, as '
            f'owner/name or hf://owner/name[/file] does{_hint_of_name(str(source))}'
        )
    repo, inner = match.groups()
    filename = filename or inner
    if filename is None:
        folder = _fetch(str(source), repo, None, hub_options)
        if (folder / CONFIG_NAME).is_file() and any(folder.glob('*.safetensors')):
            return folder, repo
        filename = _only_official_file(repo)
    return _fetch(str(source), repo, filename, hub_options), repo


def _fetch(
    source: str, repo: str, filename: str | None, hub_options: dict[str, Any] | None
) -> Path:
    try:
        return fetch_from_hub(repo, filename, **(hub_options or {}))
    except FileNotFoundError as error:
        if source.startswith('hf://'):
            raise
        raise FileNotFoundError(f'there is no folder {source}, and {error}') from error


def _hint_of_name(source: str) -> str:
    if source not in MODEL_TABLE and source not in task_configs():
        return ''
    return f'; the model of this name is mmvmamba.get_model({source!r}, pretrained=...)'


def _official_files() -> dict[str, str]:
    """Names of models by the addresses of their official weights."""
    rows = {row.weights: row.name for row in MODEL_TABLE.values() if row.weights}
    return rows | {address: name for name, address in TASK_WEIGHTS.items()}


def _files_of(repo: str) -> dict[str, str]:
    """Names of models by their official files in a repository."""
    start = f'{HUB}/{repo}/resolve/main/'
    files = _official_files().items()
    return {url.removeprefix(start): name for url, name in files if url.startswith(start)}


def _only_official_file(repo: str) -> str:
    files = _files_of(repo)
    if len(files) == 1:
        return next(iter(files))
    if not files:
        raise CheckpointError(
            f'hf://{repo} has no {CONFIG_NAME} and model.safetensors: name the file with filename='
        )
    listed = ', '.join(f'{file} ({name})' for file, name in files.items())
    raise CheckpointError(
        f'hf://{repo} has the weights of several models: name one with filename=, of {listed}'
    )


def _name_in_repository(repo: str | None) -> str | None:
    names = set(_files_of(repo).values()) if repo else set()
    return names.pop() if len(names) == 1 else None


def _only_file(folder: Path) -> Path:
    files = sorted(path for path in folder.rglob('*') if path.name.endswith(_WEIGHTS))
    if len(files) != 1:
        found = ', '.join(str(path.relative_to(folder)) for path in files[:20])
        problem = f'several files of weights: name one with filename=, of {found}'
        raise CheckpointError(
            f'{folder} has no {CONFIG_NAME} and {problem if files else "no file of weights"}'
        )
    return files[0]


def _name_of_file(path: Path) -> str:
    """The name of the model whose weights a file has: as published, or found by its keys."""
    official = _official_files()
    for depth in range(1, len(path.parts)):
        end = '/' + '/'.join(path.parts[-depth:])
        names = {name for url, name in official.items() if url.endswith(end)}
        if len(names) == 1:
            return names.pop()
        if not names:
            break
    name = identify_model(load_converted(path))
    if name is None:
        raise CheckpointError(
            f'{path} fits none of mmvmamba.list_models(); say which model it is with '
            f'mmvmamba.get_model(NAME, pretrained={str(path)!r}, ...)'
        )
    return name


def _load_described(
    description: ModelDescription,
    folder: Path,
    num_classes: int | None,
    backbone_overrides: dict | None,
) -> Any:
    weights = load_converted(folder)
    head = weights.state_dict.get('head.fc.weight')
    if description.task == 'classification':
        count = len(head) if num_classes is None and head is not None else num_classes
        _check_names(description, head, folder)
        description = description if count is None else description.with_classes(count)
    elif num_classes is not None:
        raise ValueError(f'num_classes is for classifiers, {folder} has a {description.task} model')
    check_overrides(description.model['backbone'], backbone_overrides or {})
    try:
        model = build_described(description, backbone_overrides)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f'it has no {error}' if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f'{folder / CONFIG_NAME} does not describe a model: {what}'
        ) from error
    load_model(model, weights, new_head=description.task == 'classification')
    model.has_new_head = head is not None and len(head) != len(model.head.fc.weight)
    return model


def _check_names(description: ModelDescription, head: Tensor | None, folder: Path) -> None:
    names = description.classes
    # Where a file has no names, ImageNet's are taken.
    if head is None or not names or names == class_names(len(names)):
        return
    if len(names) != len(head):
        raise CheckpointError(
            f'{folder / CONFIG_NAME} names {len(names)} classes and the weights beside it have '
            f'{len(head)}: one of the two files is of another model'
        )


def build_described(description: ModelDescription, backbone_overrides: dict | None = None) -> Any:
    """Builds a model, on any device and without initial weights."""
    config = description.config()
    config.model.backbone.update(backbone_overrides or {})
    model = (build_classifier if description.task == 'classification' else build_from_config)(
        config
    )
    model.model_name = description.name
    if description.task == 'classification':
        model.preprocessing = description.preprocessing
        model._config, model._metainfo = config, None
        model._dataset_meta = description.dataset_meta
    else:
        attach_config(model, config)
        model.dataset_meta = description.dataset_meta
    return model

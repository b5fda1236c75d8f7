"""Saving, loading and sharing models in the layout of the Hugging Face hub."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmvmamba.checkpoint import CheckpointError
from mmvmamba.files import put_in_place

from .descriptions import CONFIG_NAME, ModelDescription, preprocessing_entries
from .hub_folders import load_pretrained
from .model_card import card_metadata, card_text
from .provenance import has_official_weights
from .task_models import dataset_meta, task_of_config

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelHubMixin
else:
    try:
        from huggingface_hub import ModelHubMixin
    except ImportError:

        class ModelHubMixin:
            """Says what is missing, when a model is saved and not before."""

            def save_pretrained(self, *args, **kwargs) -> None:
                raise ImportError(
                    'folders of Hugging Face need the packages huggingface_hub and safetensors: '
                    'pip install "mmvmamba[hf]"'
                )

            push_to_hub = save_pretrained


__all__ = ['PretrainedModel', 'as_pretrained']

WEIGHTS_NAME = 'model.safetensors'
PROCESSOR_NAME = 'preprocessor_config.json'


class PretrainedModel(ModelHubMixin):
    """What every model of ``get_model`` can do besides what its toolbox has it do.

    ``save_pretrained(folder)`` writes ``config.json``, ``model.safetensors`` and a ``README.md``;
    ``push_to_hub('owner/name')`` uploads them; ``from_pretrained`` reads them. The first two take
    what those of ``huggingface_hub.ModelHubMixin`` take.
    """

    model_name: str | None
    _card_repo: str | None = None
    _toolbox_class: type

    @classmethod
    def from_pretrained(  # type: ignore[override]  # more to say, by name
        cls,
        source: str | Path,
        *,
        filename: str | None = None,
        num_classes: int | None = None,
        device: str | torch.device | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        **backbone_overrides,
    ) -> nn.Module:
        """Builds and loads a model, in evaluation mode.

        Takes what ``save_pretrained`` wrote, the repositories in which authors published weights of
        a family here, and those of timm with such a model.

        Args:
            source: A folder or file, or a repository: ``owner/name`` or ``hf://owner/name[/file]``.
            filename: The file of weights, if there are several.
            num_classes: Number of classes of a classifier; None for that of the weights.
            device: Where the model is put.
            revision: Branch, tag or commit of the repository.
            token: Of a user who may read it.
            cache_dir: Where downloads are kept.
            local_files_only: Whether to look in the cache alone.
            force_download: Whether to download what the cache has already.
            **backbone_overrides: Arguments of the backbone, such as ``drop_path_rate``.

        Raises:
            FileNotFoundError: It is not there, and could not be fetched.
            CheckpointError: It is damaged, describes no model that is known, or does not fit it.
        """
        hub_options = dict(
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        model = load_pretrained(source, filename, num_classes, backbone_overrides, hub_options)
        return as_pretrained(model).to(device).eval()

    def push_to_hub(self: Any, repo_id: str, **kwargs: Any) -> str:
        """Uploads what ``save_pretrained`` writes.

        Args:
            repo_id: ``owner/name``, made if need be; the example on the card names it.
            **kwargs: As in ``huggingface_hub.ModelHubMixin``.
        """
        self._card_repo = repo_id
        try:
            return super().push_to_hub(repo_id, **kwargs)
        finally:
            self._card_repo = None

    def _save_pretrained(self: Any, save_directory: Path) -> None:
        # The file that makes a folder readable comes last.
        _write_weights(self, save_directory / WEIGHTS_NAME)
        description = describe(self)
        if description.preprocessing is not None:
            entries = preprocessing_entries(description.preprocessing)
            _write_json(
                dict(entries, image_processor_type='VisionMambaImageProcessor'),
                save_directory / PROCESSOR_NAME,
            )
        _write_json(description.entries(), save_directory / CONFIG_NAME)

    def generate_model_card(
        self: Any, license: str | None = None, repo_id: str | None = None, **_: Any
    ) -> 'ModelCard':
        """Makes the README of the folder: licence, figures that were published, an example.

        Args:
            license: Licence of the weights, as the hub names it; None for that of the authors'
                weights.
            repo_id: The repository, for the example; None for that of ``push_to_hub``.
        """
        from huggingface_hub import ModelCard, ModelCardData

        description = describe(self)
        params = sum(parameter.numel() for parameter in self.parameters())
        data = ModelCardData(**card_metadata(description, license))
        repo = repo_id or self._card_repo
        text = card_text(description, params, has_official_weights(self), repo)
        return ModelCard(f'---\n{data.to_yaml()}\n---\n\n{text}\n')

    def __reduce_ex__(self, protocol: Any) -> tuple:
        # The class is made while the program runs, and cannot be found by its name.
        return _empty, (self._toolbox_class,), self.__dict__


def as_pretrained(model: Any) -> Any:
    """Gives a model of a toolbox the methods of ``PretrainedModel``; returns the same model."""
    if not isinstance(model, PretrainedModel):
        toolbox_class: Any = type(model)
        model.__class__ = _pretrained_class(toolbox_class)
    model.model_name = getattr(model, 'model_name', None)
    return model


def describe(model: Any) -> ModelDescription:
    """What ``config.json`` says of a model of ``get_model``."""
    if hasattr(model, 'preprocessing'):
        config = model._config.to_dict()
        return ModelDescription(
            'classification',
            config['model'],
            model.model_name,
            config['data_preprocessor'],
            model.preprocessing,
            classes=_class_list(model._dataset_meta),
        )
    meta = getattr(model, 'dataset_meta', None) or dataset_meta(model.cfg)
    return ModelDescription(
        task_of_config(model.cfg),
        model.cfg.model.to_dict(),
        model.model_name,
        pipeline=model.cfg.test_dataloader.dataset.pipeline,
        classes=_class_list(meta),
        palette=meta.get('palette'),
    )


def _class_list(meta: dict) -> list[str] | None:
    return list(meta['classes']) if meta.get('classes') else None


@cache
def _pretrained_class(toolbox_class: Any) -> Any:
    # As torch's fully_shard does: the class of the model, with more methods.
    return type(toolbox_class)(
        toolbox_class.__name__,
        (PretrainedModel, toolbox_class),
        dict(__module__=toolbox_class.__module__, _toolbox_class=toolbox_class),
    )


def _empty(toolbox_class: type) -> Any:
    cls = _pretrained_class(toolbox_class)
    return cls.__new__(cls)


def _write_weights(model: Any, path: Path) -> None:
    from safetensors.torch import save_file

    # Parts of one storage would be refused, and a training run may go on with the model.
    tensors = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in model.state_dict().items()
    }
    part = path.with_name(f'{path.name}.part')
    try:
        save_file(tensors, part, metadata={'format': 'pt'})
        put_in_place(part, path)
    except OSError as error:
        raise CheckpointError(
            f'{path} cannot be written ({error.strerror or error}); free some space, or name '
            'another folder'
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _write_json(entries: dict, path: Path) -> None:
    part = path.with_name(f'{path.name}.part')
    try:
        part.write_text(json.dumps(entries, indent=2) + '\n')
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)

"""Our classifiers as models of transformers, under its Auto classes.

Imported only where transformers is; ``transformers_classes`` registers what is here.
"""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput, ImageClassifierOutput

from mmvmamba.apis import FeatureExtractor, Preprocessing
from mmvmamba.apis.classifiers import build_classifier, quiet_log
from mmvmamba.apis.descriptions import (
    CONFIG_NAME,
    MODEL_TYPE,
    ModelDescription,
    describe_entries,
    preprocessing_entries,
)
from mmvmamba.apis.hub_folders import find_folder
from mmvmamba.checkpoint import CheckpointError, Converted, fit_model, load_converted
from mmvmamba.checkpoint.fitting import MisfitError
from mmvmamba.registry import MODELS

__all__ = [
    'VisionMambaBackbone',
    'VisionMambaConfig',
    'VisionMambaForImageClassification',
    'VisionMambaModel',
    'official_config',
    'preprocessing_of',
]

_HUB_OPTIONS = ('revision', 'token', 'cache_dir', 'local_files_only', 'force_download')


class VisionMambaConfig(BackboneConfigMixin, PreTrainedConfig):
    """What ``config.json`` says, in a folder of ours or of a family's authors.

    Beside its entries it has those by which images are prepared (``mean``, ``std``, ``crop_pct``,
    ``crop_mode``, ``image_size``, ``interpolation``), and these as ``data_config``, the arguments
    of ``timm.data.create_transform``.
    """

    model_type = MODEL_TYPE

    def __post_init__(
        self,
        out_indices: list[int] | None = None,
        out_features: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        is_unnamed = getattr(self, 'id2label', None) is None and 'num_labels' not in kwargs
        super().__post_init__(**kwargs)
        self.stage_names: list[str] = []
        self._out_features, self._out_indices = out_features, out_indices
        if not kwargs:
            # transformers makes such a config to find out what another has changed.
            return
        if is_unnamed:
            # transformers takes two classes then.
            self.id2label = self.label2id = None
        description = describe_entries(self._entries(), CONFIG_NAME)
        for name, value in preprocessing_entries(preprocessing_of(description)).items():
            setattr(self, name, value)
        if is_unnamed:
            self.num_labels = description.model['head']['num_classes']
            if description.classes:
                self.id2label = dict(enumerate(description.classes))
                self.label2id = {name: i for i, name in enumerate(description.classes)}
        count = _stage_count(description)
        self.stage_names = [f'stage{i}' for i in range(1, count + 1)]
        if out_indices is None and out_features is None:
            out_indices = [(i + 1) * count // 4 - 1 for i in range(4)]
        self.set_output_features_output_indices(out_features, out_indices)

    def _entries(self) -> dict[str, Any]:
        return {**self.__dict__, 'model_type': self.model_type}

    def to_dict(self) -> dict[str, Any]:
        """The entries of ``config.json``, with the classes that the model has now."""
        return self._with_classes(super().to_dict())

    def to_diff_dict(self) -> dict[str, Any]:
        """What is saved of them."""
        return self._with_classes(super().to_diff_dict())

    def _with_classes(self, entries: dict[str, Any]) -> dict[str, Any]:
        # transformers leaves out two classes without names, which it takes for the default.
        entries |= {key: getattr(self, key) for key in ('id2label', 'label2id')}
        if 'model' in entries:
            entries['model']['head']['num_classes'] = self.num_labels
        return entries

    def description(self) -> ModelDescription:
        """The model, with as many classes as the config has labels."""
        return describe_entries(self._entries(), CONFIG_NAME).with_classes(self.num_labels)

    @property
    def data_config(self) -> dict[str, Any]:
        """The arguments of ``timm.data.create_transform`` that prepare images for this model."""
        names = ('mean', 'std', 'crop_pct', 'crop_mode', 'interpolation')
        size = (3, self.image_size, self.image_size)
        return dict(input_size=size, **{name: getattr(self, name) for name in names})


def preprocessing_of(description: ModelDescription) -> Preprocessing:
    """How a classifier wants its images; nothing else is a model of transformers.

    Raises:
        CheckpointError: The description is of a detector or segmentor.
    """
    if description.preprocessing is None:
        raise CheckpointError(
            f'transformers reads classifiers of mmvmamba, and the folder has a {description.task} '
            'model: read it with mmvmamba.PretrainedModel.from_pretrained'
        )
    return description.preprocessing


def official_config(model_type: str) -> type[VisionMambaConfig]:
    """The config of a family's official folders, whose ``model_type`` is another."""
    # transformers compares the names of a config and of the one that a model asks for.
    return type('VisionMambaConfig', (VisionMambaConfig,), dict(model_type=model_type))


def _stage_count(description: ModelDescription) -> int:
    with torch.device('meta'):
        return len(MODELS.build(description.model['backbone']).stage_channels)


class _HubModel(PreTrainedModel):
    """A part of a classifier in ``model``, loaded strictly by our own reader."""

    config_class = VisionMambaConfig
    main_input_name = 'pixel_values'
    input_modalities = ('image',)
    model: Any

    def __init__(self, config: VisionMambaConfig) -> None:
        super().__init__(config)
        classifier: Any = _classifier_of(config)
        if not any(parameter.is_meta for parameter in classifier.parameters()):
            with quiet_log():
                classifier.init_weights()
        self.model = self.part_of(classifier)
        self.post_init()

    @staticmethod
    def part_of(classifier: nn.Module) -> nn.Module:
        """The modules that this model keeps."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None,
        *args: Any,
        config: VisionMambaConfig | None = None,
        state_dict: dict[str, Tensor] | None = None,
        ignore_mismatched_sizes: bool = False,
        **kwargs: Any,
    ) -> 'PreTrainedModel':
        """Builds and loads a model, as every ``PreTrainedModel`` does.

        The weights are read and compared with the model by this package, which knows the names in
        official folders; any difference is an error.

        Args:
            pretrained_model_name_or_path: A folder, ``owner/name`` or ``hf://owner/name``.
            *args: As in transformers.
            config: The config; None for that of the folder.
            state_dict: Weights to load instead.
            ignore_mismatched_sizes: Whether a head of another size starts anew.
            **kwargs: As in transformers.
        """
        if pretrained_model_name_or_path is not None and state_dict is None:
            options = {key: kwargs.pop(key) for key in _HUB_OPTIONS if key in kwargs}
            folder, _ = find_folder(pretrained_model_name_or_path, hub_options=options)
            if not isinstance(config, PreTrainedConfig):
                # What is no setting of the config is an argument of the model.
                config, kwargs = AutoConfig.from_pretrained(
                    folder, return_unused_kwargs=True, **kwargs
                )
            state_dict = _fitting(load_converted(folder), config, ignore_mismatched_sizes)
            kept = tuple(f'model.{name}.' for name in cls.part_names)
            state_dict = {key: value for key, value in state_dict.items() if key.startswith(kept)}
        model = super().from_pretrained(None, *args, config=config, state_dict=state_dict, **kwargs)
        model.config._name_or_path = str(pretrained_model_name_or_path or '')
        return model

    part_names: tuple[str, ...] = ('backbone', 'neck')

    def _init_weights(self, module: Any) -> None:
        # The rest of a new model is initialised by its own modules, and all else is loaded.
        if module is getattr(getattr(self.model, 'head', None), 'fc', None):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


class VisionMambaForImageClassification(_HubModel):
    """A classifier; ``outputs['logits']`` are its scores before the softmax."""

    part_names = ('backbone', 'neck', 'head')

    @staticmethod
    def part_of(classifier: nn.Module) -> nn.Module:
        return classifier

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        """Scores images.

        Args:
            pixel_values: ``(N, 3, H, W)``, prepared by the image processor or ``data_config``.
            labels: Classes ``(N)``; with them there is a ``loss``, the cross-entropy.
        """
        logits = self.model(pixel_values)
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class VisionMambaModel(_HubModel):
    """The model without its head: gives ``(pooled, maps)``, see ``mmvmamba.FeatureExtractor``."""

    @staticmethod
    def part_of(classifier: nn.Module) -> nn.Module:
        return FeatureExtractor(classifier)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Pools images and gives the maps of four stages or blocks."""
        return self.model(pixel_values)


class VisionMambaBackbone(BackboneMixin, _HubModel):
    """The model as a backbone of transformers' detectors and segmentors."""

    has_attentions = False
    num_features: list[int]

    def __init__(self, config: VisionMambaConfig) -> None:
        super().__init__(config)
        self.num_features = list(self.model.backbone.stage_channels)

    @staticmethod
    def part_of(classifier: nn.Module) -> nn.Module:
        return FeatureExtractor(classifier)

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BackboneOutput:
        """Gives ``feature_maps``, one ``(N, C, H, W)`` for each of ``out_indices``.

        Args:
            pixel_values: ``(N, 3, H, W)``.
            **kwargs: What transformers asks of every backbone; nothing of it is there.
        """
        _, maps = self.model.backbone.feature_maps(pixel_values, self.config.out_indices)
        return BackboneOutput(feature_maps=tuple(maps))


def _classifier_of(config: VisionMambaConfig) -> nn.Module:
    description = config.description()
    # Values that are in no file are lost where transformers builds a model without memory.
    parts = Config(dict(model=description.model, data_preprocessor=dict(to_rgb=True)))
    return build_classifier(parts)


def _fitting(
    weights: Converted, config: VisionMambaConfig, ignore_mismatched_sizes: bool
) -> dict[str, Tensor]:
    """The weights by the names of a whole classifier, once they are known to fit it."""
    with torch.device('meta'):
        classifier = _classifier_of(config)
    try:
        fitted = fit_model(classifier, weights, new_head=ignore_mismatched_sizes)
    except MisfitError as error:
        raise MisfitError(
            f'{error}. For another number of classes give ignore_mismatched_sizes=True, and the '
            'head starts anew'
        ) from error
    return {f'model.{key}': value for key, value in fitted.state_dict.items()}

"""Our detectors and segmentors under their names in the inferencers of mmdet and mmseg."""

import difflib

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.infer import BaseInferencer
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmvmamba.apis.task_models import TASK_WEIGHTS, task_configs
from mmvmamba.checkpoint import convert, load_model

__all__ = ['dataset_meta', 'take_our_models']


def take_our_models(inferencer: type[BaseInferencer], task: str) -> None:
    """Has an inferencer take our model names beside those of its own project.

    Our models are loaded strictly. The classes and colours of one whose file does not name them, as
    official files do not, are those of the data set in its config.

    Args:
        inferencer: The class, which is changed.
        task: 'detection' or 'segmentation'.
    """
    find, load = inferencer._load_model_from_metafile, inferencer._load_weights_to_model

    def find_any(self: BaseInferencer, model: str) -> tuple[Config, str | None]:
        names = {name.lower(): name for name in task_configs(task)}
        name = names.get(model.lower())
        if name is not None:
            return Config.fromfile(task_configs(task)[name]), TASK_WEIGHTS.get(name)
        try:
            return find(self, model)
        except ValueError as error:
            near = difflib.get_close_matches(model.lower(), names, n=3)
            hint = f'; did you mean {" or ".join(map(repr, near))}?' if near else ''
            raise ValueError(f'{error}{hint}') from None

    def load_any(
        self: BaseInferencer, model: nn.Module, checkpoint: dict | None, cfg: Config
    ) -> None:
        if checkpoint is not None and _is_ours(cfg):
            load_model(model, convert(checkpoint, 'the checkpoint'))
        load(self, model, checkpoint, cfg)
        meta = (checkpoint or {}).get('meta') or {}
        if not {'dataset_meta', 'CLASSES'} & set(meta) and _is_ours(cfg):
            model.dataset_meta = {**model.dataset_meta, **dataset_meta(cfg)}

    inferencer._load_model_from_metafile = find_any
    inferencer._load_weights_to_model = load_any


def dataset_meta(cfg: Config) -> dict:
    """The classes and colours of the test data set of a config, which need not be there."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset: BaseDataset = DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True})
    return {key: dataset.metainfo[key] for key in ('classes', 'palette') if key in dataset.metainfo}


def _is_ours(cfg: Config) -> bool:
    return str(cfg.model.get('backbone', {}).get('type', '')).startswith('mmvmamba.')

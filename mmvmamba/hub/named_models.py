"""What our subclasses of mmdet's and mmseg's inferencers share."""

import difflib
from typing import Any

from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope

from mmvmamba.apis.task_models import TASK_WEIGHTS, dataset_meta, task_configs
from mmvmamba.checkpoint import convert, load_model

__all__ = ['NamedModels']


class NamedModels(BaseInferencer):
    """Base of an inferencer that takes our model names beside those of its own project.

    Models with one of our backbones are loaded strictly. The classes and colours of one whose file
    does not name them, as official files do not, are those of the data set in its config. The
    default scope of mmengine is set while the inferencer works and is left as it was, so that
    inferencers of several toolboxes work in one process, in any order.

    A subclass names its ``task`` and ``toolbox``, and the toolbox's inferencer as the next base.
    """

    task: str
    toolbox: str

    def __init__(self, model: str | dict | None = None, *args, **kwargs) -> None:
        with DefaultScope.overwrite_default_scope(self.toolbox):
            super().__init__(model, *args, **kwargs)

    def __call__(self, *args, **kwargs) -> dict:
        with DefaultScope.overwrite_default_scope(self.toolbox):
            return super().__call__(*args, **kwargs)

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        names = {name.lower(): name for name in task_configs(self.task)}
        name = names.get(model.lower())
        if name is not None:
            return Config.fromfile(task_configs(self.task)[name]), TASK_WEIGHTS.get(name)
        try:
            return super()._load_model_from_metafile(model)
        except ValueError as error:
            near = difflib.get_close_matches(model.lower(), names, n=3)
            hint = f'; did you mean {" or ".join(map(repr, near))}?' if near else ''
            raise ValueError(f'{error}{hint}') from None

    def _load_weights_to_model(self, model: Any, checkpoint: dict | None, cfg: Config) -> None:
        is_ours = str(cfg.model.get('backbone', {}).get('type', '')).startswith('mmvmamba.')
        if is_ours and checkpoint is not None:
            load_model(model, convert(checkpoint, 'the checkpoint'))
            meta = checkpoint.get('meta') or {}
            if not {'dataset_meta', 'CLASSES'} & set(meta):
                meta = {**meta, 'dataset_meta': dataset_meta(cfg)}
            # What is left for the toolbox is to take over the names of the classes.
            checkpoint = dict(state_dict=model.state_dict(), meta=meta)
        super()._load_weights_to_model(model, checkpoint, cfg)
        if is_ours and checkpoint is None:
            model.dataset_meta = {**model.dataset_meta, **dataset_meta(cfg)}

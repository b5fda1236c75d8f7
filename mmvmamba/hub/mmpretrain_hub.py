"""Our models under their names in mmpretrain's ``get_model``, ``list_models`` and inferencers."""

import types

from mmengine.config import Config

from mmvmamba.apis.model_table import MODEL_TABLE, ModelInfo
from mmvmamba.apis.models import model_config

__all__ = ['register_models']


def register_models(hub_module: types.ModuleType) -> None:
    """Adds our models to mmpretrain's hub.

    Args:
        hub_module: The module ``mmpretrain.apis.model``.
    """

    class HubModel(hub_module.Model):
        # Made when it is asked for: this runs while mmpretrain is being imported.
        @property
        def config(self) -> Config:
            return model_config(self.name)

    for row in MODEL_TABLE.values():
        model = HubModel(name=row.name, weights=row.weights, results=[_result(row)])
        hub_module.ModelHub._models_dict[row.name] = model


def _result(row: ModelInfo) -> dict:
    metrics = {} if row.top1 is None else {'Top 1 Accuracy': row.top1}
    return dict(Task='Image Classification', Dataset='ImageNet-1k', Metrics=metrics)

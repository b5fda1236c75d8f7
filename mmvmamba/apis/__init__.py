"""What the package does with models, in one call each.

Nothing is imported before a name is asked for: the list of models needs no torch.
"""

import importlib
from typing import Any

__all__ = [
    'MODEL_TABLE',
    'BatchClassifier',
    'FeatureExtractor',
    'GraphedModel',
    'ModelInfo',
    'Prediction',
    'Preprocessing',
    'PretrainedModel',
    'classify',
    'create_model',
    'find_model',
    'get_feature_extractor',
    'get_model',
    'graphed',
    'identify_model',
    'list_images',
    'list_models',
    'model_config',
    'optimize_for_inference',
    'predict_all',
]

# The module of each name.
_HOMES = {
    'BatchClassifier': 'batch_prediction',
    'list_images': 'batch_prediction',
    'predict_all': 'batch_prediction',
    'Prediction': 'classification',
    'classify': 'classification',
    'model_config': 'classifiers',
    'FeatureExtractor': 'features',
    'get_feature_extractor': 'features',
    'GraphedModel': 'graphs',
    'graphed': 'graphs',
    'identify_model': 'identify',
    'MODEL_TABLE': 'model_table',
    'ModelInfo': 'model_table',
    'find_model': 'model_table',
    'create_model': 'models',
    'get_model': 'models',
    'list_models': 'models',
    'optimize_for_inference': 'optimization',
    'Preprocessing': 'preprocess',
    'PretrainedModel': 'pretrained',
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f'.{_HOMES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

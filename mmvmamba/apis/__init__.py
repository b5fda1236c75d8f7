from .batch_prediction import BatchClassifier, list_images, predict_all
from .classification import Prediction, classify
from .classifiers import model_config
from .features import FeatureExtractor, get_feature_extractor
from .identify import identify_model
from .model_table import MODEL_TABLE, ModelInfo, find_model
from .models import create_model, get_model, list_models
from .optimization import optimize_for_inference
from .preprocess import Preprocessing
from .pretrained import PretrainedModel

__all__ = [
    'MODEL_TABLE',
    'BatchClassifier',
    'FeatureExtractor',
    'ModelInfo',
    'Prediction',
    'Preprocessing',
    'PretrainedModel',
    'classify',
    'create_model',
    'find_model',
    'get_feature_extractor',
    'get_model',
    'identify_model',
    'list_images',
    'list_models',
    'model_config',
    'optimize_for_inference',
    'predict_all',
]

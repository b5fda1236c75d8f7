from .class_check import ClassCheckHook
from .label_range import LabelRangeHook
from .prediction_pictures import PredictionPicturesHook
from .step_seed import StepSeedHook

__all__ = ['ClassCheckHook', 'LabelRangeHook', 'PredictionPicturesHook', 'StepSeedHook']

from .checkpoint import CheckpointHook
from .class_check import ClassCheckHook
from .finite_weights import FiniteWeightsHook
from .kernel_warmup import KernelWarmupHook
from .label_range import LabelRangeHook
from .mesa_ema import MesaEMAHook
from .prediction_pictures import PredictionPicturesHook
from .step_seed import StepSeedHook
from .strict_loading import StrictLoadingHook
from .validation_pictures import ValidationPicturesHook

__all__ = [
    'CheckpointHook',
    'ClassCheckHook',
    'FiniteWeightsHook',
    'KernelWarmupHook',
    'LabelRangeHook',
    'MesaEMAHook',
    'PredictionPicturesHook',
    'StepSeedHook',
    'StrictLoadingHook',
    'ValidationPicturesHook',
]

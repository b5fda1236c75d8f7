from .ema import SteppedEMA
from .finite_amp import FiniteAmpOptimWrapper
from .hooks import (
    ClassCheckHook,
    FiniteWeightsHook,
    LabelRangeHook,
    MesaEMAHook,
    PredictionPicturesHook,
    StepSeedHook,
)
from .layer_decay import LayerDecayOptimWrapperConstructor
from .metrics import CocoMetric
from .runner import Runner, latest_checkpoint
from .schedulers import WarmupCosineLR

__all__ = [
    'ClassCheckHook',
    'CocoMetric',
    'FiniteAmpOptimWrapper',
    'FiniteWeightsHook',
    'LabelRangeHook',
    'LayerDecayOptimWrapperConstructor',
    'MesaEMAHook',
    'PredictionPicturesHook',
    'Runner',
    'StepSeedHook',
    'SteppedEMA',
    'WarmupCosineLR',
    'latest_checkpoint',
]

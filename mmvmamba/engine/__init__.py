from .checkpoint_files import latest_checkpoint
from .ema import SteppedEMA
from .finite_amp import FiniteAmpOptimWrapper
from .flexible_runner import FlexibleRunner
from .hooks import (
    CheckpointHook,
    ClassCheckHook,
    FiniteWeightsHook,
    KernelWarmupHook,
    LabelRangeHook,
    MesaEMAHook,
    PredictionPicturesHook,
    StepSeedHook,
    StrictLoadingHook,
    ValidationPicturesHook,
)
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import ExactEpochLoop, ExactIterLoop
from .metrics import CocoMetric, ResultFile
from .runner import Runner
from .schedulers import WarmupCosineLR
from .shared_test import SharedTestLoop
from .strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy

__all__ = [
    'CheckpointHook',
    'ClassCheckHook',
    'CocoMetric',
    'DDPStrategy',
    'DeepSpeedStrategy',
    'ExactEpochLoop',
    'ExactIterLoop',
    'FSDPStrategy',
    'FiniteAmpOptimWrapper',
    'FiniteWeightsHook',
    'FlexibleRunner',
    'KernelWarmupHook',
    'LabelRangeHook',
    'LayerDecayOptimWrapperConstructor',
    'MesaEMAHook',
    'PredictionPicturesHook',
    'ResultFile',
    'Runner',
    'SharedTestLoop',
    'StepSeedHook',
    'SteppedEMA',
    'StrictLoadingHook',
    'ValidationPicturesHook',
    'WarmupCosineLR',
    'latest_checkpoint',
]

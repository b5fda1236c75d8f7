from .hooks import PredictionPicturesHook, StepSeedHook
from .metrics import CocoMetric
from .runner import Runner, latest_checkpoint
from .schedulers import WarmupCosineLR

__all__ = [
    'CocoMetric',
    'PredictionPicturesHook',
    'Runner',
    'StepSeedHook',
    'WarmupCosineLR',
    'latest_checkpoint',
]

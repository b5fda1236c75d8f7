from .hooks import PredictionPicturesHook, StepSeedHook
from .metrics import CocoMetric
from .runner import Runner, latest_checkpoint

__all__ = ['CocoMetric', 'PredictionPicturesHook', 'Runner', 'StepSeedHook', 'latest_checkpoint']

from .hooks import PredictionPicturesHook, StepSeedHook
from .runner import Runner, latest_checkpoint

__all__ = ['PredictionPicturesHook', 'Runner', 'StepSeedHook', 'latest_checkpoint']

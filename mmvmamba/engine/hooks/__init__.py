from .prediction_pictures import PredictionPicturesHook
from .step_seed import StepSeedHook

__all__ = ['PredictionPicturesHook', 'StepSeedHook']

"""Test-time augmentation of detectors that predict masks too.

This module imports mmdet; detection configs name it in ``custom_imports``.
"""

from mmdet.models import DetTTAModel
from mmdet.structures import DetDataSample

from mmvmamba.registry import MODELS

__all__ = ['BoxTTAModel']


@MODELS.register_module()
class BoxTTAModel(DetTTAModel):
    """mmdet's ``DetTTAModel``, which merges boxes, for detectors with masks: these are left out."""

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        for sample in data_samples:
            sample.pred_instances.pop('masks', None)
        return super()._merge_single_sample(data_samples)

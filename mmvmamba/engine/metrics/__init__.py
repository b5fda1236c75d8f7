from .coco_metric import CocoMetric
from .result_file import ResultFile

__all__ = ['CocoMetric', 'ResultFile']

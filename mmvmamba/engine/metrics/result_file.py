"""What a test found, image by image, in a file that people and programs can read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.structures import InstanceData
from torch import Tensor

from mmvmamba.datasets.errors import AnnotationError
from mmvmamba.files import put_in_place
from mmvmamba.registry import METRICS

__all__ = ['ResultFile']

TOP = 5


@METRICS.register_module()
class ResultFile(BaseMetric):
    """Writes the predictions of a test beside the truth, as JSON.

    A file has ``task``, ``classes`` and ``images``. An image of a classification has its path in
    ``image``, ``truth``, and up to five ``labels`` with their ``scores``, best first. One of a
    detection has ``truth`` and ``found``, lists of ``[label, left, top, right, bottom]`` with the
    score at the end of what was found, and ``ignored``, the boxes of crowds. Masks are left out.

    Args:
        path: The file; its folder is made if missing.
        collect_device: 'cpu' or 'gpu', where the ranks' results are gathered.
    """

    # No figures are returned; mmengine warns of a metric without a prefix.
    default_prefix = 'results'

    def __init__(self, path: str, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device)
        self.path = Path(path)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps what is written of a batch's predictions.

        Args:
            data_batch: Unused.
            data_samples: Predictions and truth.

        Raises:
            AnnotationError: There is no truth.
            ValueError: They are not those of a classifier or a detector.
        """
        for sample in data_samples:
            if 'pred_score' in sample:
                record = _classification(sample)
            elif 'pred_instances' in sample:
                record = _detection(sample)
            else:
                raise ValueError('results are written as JSON of classifiers and detectors alone')
            self.results.append(dict(image=str(sample['img_path']), **record))

    def compute_metrics(self, results: list[dict]) -> dict:
        """Writes the file, whole or not at all."""
        is_detection = any('found' in item for item in results)
        content = dict(
            task='detection' if is_detection else 'classification',
            classes=list(self.dataset_meta['classes']),
            images=results,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f'.{self.path.name}.part')
        part.write_text(json.dumps(content))
        put_in_place(part, self.path)
        return {}


def _classification(sample: dict) -> dict:
    if 'gt_label' not in sample:
        raise AnnotationError('the test data have no labels, which --out FILE.json needs')
    scores, labels = sample['pred_score'].topk(min(TOP, len(sample['pred_score'])))
    return dict(
        truth=int(sample['gt_label'][0]), labels=labels.tolist(), scores=_rounded(scores, 6)
    )


def _detection(sample: dict) -> dict:
    if 'gt_instances' not in sample:
        raise AnnotationError(
            'the test data have no annotations, which --out FILE.json needs.',
            remedy='Put LoadAnnotations into the test pipeline.',
        )
    found, ignored = sample['pred_instances'], sample.get('ignored_instances')
    rows = zip(_labelled_boxes(found), _rounded(found['scores'], 4), strict=True)
    return dict(
        truth=_labelled_boxes(sample['gt_instances']),
        ignored=[] if ignored is None else _boxes(ignored),
        found=[[*row, score] for row, score in rows],
    )


def _labelled_boxes(instances: InstanceData | dict) -> list[list]:
    labels = instances['labels'].tolist()
    return [[label, *box] for label, box in zip(labels, _boxes(instances), strict=True)]


def _boxes(instances: InstanceData | dict) -> list[list[float]]:
    boxes = instances['bboxes']
    return _rounded(getattr(boxes, 'tensor', boxes), 2)


def _rounded(values: Tensor, digits: int) -> list:
    return values.double().round(decimals=digits).tolist()

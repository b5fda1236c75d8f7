"""Counting detections against annotations, and the twelve figures of COCO."""

import logging
from collections.abc import Sequence

import numpy as np

__all__ = ['FIGURES', 'count', 'figure_names', 'figures_by_class', 'twelve_figures']

logger = logging.getLogger(__name__)

# In the order in which COCO's tools print them, with the names that mmdet gives them.
FIGURES = (
    'mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l',
    'AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000',
)  # fmt: skip
_AREAS = ('all', 'small', 'medium', 'large')

Counts = dict[str, np.ndarray]


def figure_names(max_detections: Sequence[int]) -> tuple[str, ...]:
    """The names of what ``twelve_figures`` returns; ``FIGURES`` for any three numbers."""
    if len(max_detections) == 3:
        return FIGURES
    by_size = (f'AR_{size}@{max_detections[-1]}' for size in 'sml')
    return (*FIGURES[:6], *(f'AR@{number}' for number in max_detections), *by_size)


def count(
    annotations: dict,
    predictions: list[dict],
    iou_type: str,
    category_ids: Sequence[int],
    iou_thresholds: Sequence[float] | np.ndarray,
    max_detections: Sequence[int],
    with_categories: bool,
) -> Counts:
    """Match predictions to annotations.

    Args:
        annotations: content of an annotation file.
        predictions: records as in COCO's result files; changed.
        iou_type: 'bbox' or 'segm'.
        category_ids: the categories that count, in ascending order.
        iou_thresholds: overlaps from which a prediction can match.
        max_detections: how many predictions of an image count, best first, in ascending order.
        with_categories: whether a prediction must name the category of what it matches.

    Returns:
        'precision' (thresholds, 101 recalls, categories, areas, max_detections) and 'recall', the
        same without recalls; -1 where there is nothing to find.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO({'annotations': [], **annotations}, print_function=logger.debug)
    evaluation = COCOeval_faster(
        truth, truth.loadRes(predictions), iou_type, print_function=logger.debug
    )
    params = evaluation.params
    params.imgIds = sorted(truth.imgs)
    params.catIds = list(category_ids)
    params.iouThrs = np.asarray(iou_thresholds, dtype=float)
    params.maxDets = list(max_detections)
    params.useCats = int(with_categories)
    evaluation.evaluate()
    evaluation.accumulate()
    shape = tuple(evaluation.eval['counts'])
    return {
        'precision': np.asarray(evaluation.eval['precision']).reshape(shape),
        'recall': np.asarray(evaluation.eval['recall']).reshape(shape[:1] + shape[2:]),
    }


def twelve_figures(
    counts: Counts,
    iou_thresholds: Sequence[float] | np.ndarray,
    max_detections: Sequence[int],
    first_at_last: bool = False,
) -> np.ndarray:
    """The figures of ``FIGURES``; -1 for one that nothing contributes to.

    As in COCO's tools the first figure is taken at 100 detections, the next five at the last of
    ``max_detections``, the recalls at each of them, three as a rule, and, by size, at the last.

    Args:
        counts: What ``count`` returns.
        iou_thresholds: Its own.
        max_detections: Its own.
        first_at_last: Whether the first figure is taken at the last of ``max_detections``, too.
    """
    precision, recall = counts['precision'], counts['recall']
    last = len(max_detections) - 1
    at_100 = [i for i, number in enumerate(max_detections) if number == 100]
    figures = [
        _mean(precision[:, :, :, 0, [last] if first_at_last else at_100]),
        *(
            _mean(precision[np.isclose(iou_thresholds, threshold), :, :, 0, last])
            for threshold in (0.5, 0.75)
        ),
        *(_mean(precision[:, :, :, area, last]) for area in range(1, len(_AREAS))),
        *(_mean(recall[:, :, 0, number]) for number in range(len(max_detections))),
        *(_mean(recall[:, :, area, last]) for area in range(1, len(_AREAS))),
    ]
    return np.array(figures)


def figures_by_class(counts: Counts, iou_thresholds: Sequence[float] | np.ndarray) -> np.ndarray:
    """Average precision of each class: all, at 0.5, at 0.75, small, medium, large; NaN if none."""
    precision = counts['precision'][..., -1]
    rows = []
    for number in range(precision.shape[2]):
        of_class = precision[:, :, number]
        figures = [
            _mean(of_class[..., 0]),
            *(_mean(of_class[np.isclose(iou_thresholds, t), :, 0]) for t in (0.5, 0.75)),
            *(_mean(of_class[..., area]) for area in range(1, len(_AREAS))),
        ]
        rows.append([np.nan if figure == -1 else figure for figure in figures])
    return np.array(rows)


def _mean(values: np.ndarray) -> float:
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0

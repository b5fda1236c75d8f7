"""COCO's evaluation of boxes, masks and proposals, with mmdet's interface."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import MMLogger

from mmvmamba.datasets.coco_annotations import check_annotations, read_annotations
from mmvmamba.datasets.errors import AnnotationError, DataError
from mmvmamba.registry import METRICS

from .coco_figures import count, figure_names, figures_by_class, twelve_figures
from .errors import MissingSettingError, UnknownNameError
from .proposal_recall import proposal_recalls

__all__ = ['CocoMetric', 'encode_masks']

KINDS = ('bbox', 'segm', 'proposal', 'proposal_fast')
# Of a record of the log that a terminal need not show: the figures come in the final table, too.
LOG_ONLY = dict(on_terminal=False)
CLASS_HEADER = ('category', 'mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@METRICS.register_module()
class CocoMetric(BaseMetric):
    """The figures of mmdet's ``CocoMetric``, counted by faster-coco-eval instead of pycocotools.

    Arguments, names of the results and result files are mmdet's, so that the type is all that
    changes in a config. Beyond mmdet's it refuses predictions that are not finite and annotations
    that COCO's tools would read outside of, says -1 or 0 where there is nothing to count, and
    returns precisions by class of boxes and of masks.

    Args:
        ann_file: COCO annotation file; None takes the annotations that come with the samples.
        metric: 'bbox', 'segm', 'proposal', 'proposal_fast', or several of them.
        classwise: whether to log and return the average precision of each class.
        proposal_nums: numbers of detections per image that count; three of them, but for
            'proposal_fast' alone or with ``use_mp_eval``.
        iou_thrs: overlaps from which a detection can match; None for 0.5, 0.55, ... 0.95.
        metric_items: names of the figures to return; None for the usual six.
        format_only: whether to write the result files and count nothing.
        outfile_prefix: path and beginning of the names of the result files; needed for
            ``format_only``, otherwise None writes none.
        backend_args: how mmengine reads ``ann_file``.
        collect_device: 'cpu' or 'gpu', where the ranks' results are gathered.
        prefix: stands before the names of the figures.
        sort_categories: whether categories are taken in the order of their ids.
        use_mp_eval: whether the mean precision is taken at the last of ``proposal_nums`` and not at
            100, as mmdet's counting in several processes does. No other process is started.
        strict: whether to refuse annotations that can be counted with, but are hardly meant so:
            categories in another order than the classes, boxes and polygons far outside of their
            image, masks of another size.
    """

    default_prefix = 'coco'

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = 'bbox',
        classwise: bool = False,
        proposal_nums: Sequence[int] = (100, 300, 1000),
        iou_thrs: float | Sequence[float] | None = None,
        metric_items: Sequence[str] | None = None,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        sort_categories: bool = False,
        use_mp_eval: bool = False,
        strict: bool = False,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        for name in self.metrics:
            if name not in KINDS:
                raise UnknownNameError(f'metric should be one of {list(KINDS)}, got {name!r}')
        self.proposal_nums = list(proposal_nums)
        if not use_mp_eval and len(proposal_nums) != 3 and self.metrics != ['proposal_fast']:
            raise ValueError(f'proposal_nums must be three numbers, got {proposal_nums}')
        known = figure_names(sorted(proposal_nums))
        for name in metric_items or ():
            if name not in known:
                raise UnknownNameError(
                    f'metric item "{name}" is not supported; it should be one of {list(known)}'
                )
        if format_only and outfile_prefix is None:
            raise MissingSettingError(
                'format_only needs outfile_prefix, the place of the result files'
            )
        self.classwise = classwise
        self.iou_thrs = np.linspace(0.5, 0.95, 10) if iou_thrs is None else iou_thrs
        self.metric_items = metric_items
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        self.sort_categories = sort_categories
        self.use_mp_eval = use_mp_eval
        self.strict = strict
        self.ann_file = ann_file
        self.annotations = None
        if ann_file is not None:
            self.annotations = read_annotations(ann_file, backend_args)
            check_annotations(self.annotations, ann_file, strict=strict)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep what the evaluation needs of a batch's predictions.

        Args:
            data_batch: unused.
            data_samples: samples with ``pred_instances``, ``img_id`` and ``ori_shape``, and with
                ``instances`` if no annotation file was given.
        """
        for sample in data_samples:
            predicted = sample['pred_instances']
            result = {
                key: predicted[key].detach().cpu().float().numpy()
                for key in ('bboxes', 'scores', 'mask_scores')
                if key in predicted
            }
            _check_finite(result, sample)
            result['labels'] = predicted['labels'].cpu().numpy()
            if 'masks' in predicted:
                result['masks'] = encode_masks(predicted['masks'])
            result['img_id'] = sample['img_id']
            height, width = sample['ori_shape'][:2]
            truth = dict(id=sample['img_id'], width=int(width), height=int(height))
            if self.annotations is None:
                if 'instances' not in sample:
                    raise ValueError(
                        'without ann_file CocoMetric needs the annotations in the samples, as '
                        "'instances'"
                    )
                truth['instances'] = sample['instances']
            self.results.append((truth, result))

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Count over all samples.

        Args:
            results: what ``process`` kept.

        Returns:
            The figures by name, such as 'bbox_mAP', rounded to three digits as mmdet does.
        """
        logger = MMLogger.get_current_instance()
        annotations = self.annotations
        if annotations is None:
            truths = [truth for truth, _ in results]
            annotations = annotations_from_samples(truths, self.dataset_meta['classes'])
            if self.outfile_prefix is not None:
                dump(annotations, f'{self.outfile_prefix}.gt.json')
        categories = self._categories(annotations)
        predicted = [result for _, result in results]
        self._check_images(annotations, predicted)
        records = to_records(predicted, [category['id'] for category in categories])
        if self.outfile_prefix is not None:
            for kind, rows in records.items():
                dump(rows, f'{self.outfile_prefix}.{kind}.json')
            logger.info('the result files are %s.*.json', self.outfile_prefix)
        figures: dict[str, float] = {}
        if self.format_only:
            return figures
        for metric in self.metrics:
            logger.info('Evaluating %s...', metric, extra=LOG_ONLY)
            if metric == 'proposal_fast':
                figures |= self._fast_recalls(annotations, predicted)
            else:
                figures |= self._evaluate(metric, annotations, categories, records)
        return figures

    def _categories(self, annotations: dict) -> list[dict]:
        """The categories behind the labels 0, 1, ..., in the order in which mmdet counts them."""
        classes = self.dataset_meta['classes']
        source = self.ann_file or 'the annotations of the samples'
        if self.sort_categories:
            categories = sorted(annotations['categories'], key=lambda item: item['id'])
            annotations = {**annotations, 'categories': categories}
        with_masks = 'segm' in self.metrics
        check_annotations(annotations, source, classes, with_masks, strict=self.strict)
        return [item for item in annotations['categories'] if item['name'] in classes]

    def _check_images(self, annotations: dict, predicted: list[dict]) -> None:
        known = {image['id'] for image in annotations['images']}
        unknown = [result['img_id'] for result in predicted if result['img_id'] not in known]
        if unknown:
            raise AnnotationError(
                f'{self.ann_file} must hold the images that were predicted on, and lacks '
                f'{len(unknown)} of {len(predicted)}, such as image {unknown[0]}: the ann_file of '
                'the evaluator and that of the data set are not the same'
            )

    def _evaluate(
        self, metric: str, annotations: dict, categories: list[dict], records: dict[str, list]
    ) -> dict[str, float]:
        kind = 'bbox' if metric == 'proposal' else metric
        if kind not in records:
            raise ValueError(f'the predictions have no masks, which the metric {metric!r} needs')
        rows = [dict(row) for row in records[kind]]
        if kind == 'segm':
            # COCO takes the area of a detection from its box if there is one, else from its mask.
            for row in rows:
                row.pop('bbox')
        thresholds, numbers = np.atleast_1d(self.iou_thrs), sorted(self.proposal_nums)
        counts = count(
            annotations,
            rows,
            kind,
            sorted(category['id'] for category in categories),
            thresholds,
            numbers,
            with_categories=metric != 'proposal',
        )
        found = twelve_figures(counts, thresholds, numbers, first_at_last=self.use_mp_eval)
        values = dict(zip(figure_names(numbers), found, strict=True))
        table = [('figure', metric), *((name, _text(v)) for name, v in values.items())]
        _log_table(table, extra=LOG_ONLY)
        names = list(values)
        wanted = self.metric_items or (names[6:] if metric == 'proposal' else names[:6])
        start = '' if metric == 'proposal' else f'{metric}_'
        figures = {f'{start}{name}': round(float(values[name]), 3) for name in wanted}
        if self.classwise and metric != 'proposal':
            figures |= self._classwise(metric, counts, categories)
        return figures

    def _classwise(
        self, metric: str, counts: dict[str, np.ndarray], categories: list[dict]
    ) -> dict[str, float]:
        table = figures_by_class(counts, np.atleast_1d(self.iou_thrs))
        names = [item['name'] for item in sorted(categories, key=lambda item: item['id'])]
        texts = [[_text(value) for value in row] for row in table]
        rows = [(name, *text) for name, text in zip(names, texts, strict=True)]
        _log_table([CLASS_HEADER, *rows])
        # mmdet's name; beside boxes, masks get one of their own instead of taking their place.
        start = f'{metric}_' if metric != 'bbox' and 'bbox' in self.metrics else ''
        return {
            f'{start}{name}_precision': round(float(row[0]), 3)
            for name, row in zip(names, table, strict=True)
        }

    def _fast_recalls(self, annotations: dict, predicted: list[dict]) -> dict[str, float]:
        """Recall whatever the class; boxes are best first, as mmdet's heads return them."""
        boxes: dict[int, list[tuple]] = {image['id']: [] for image in annotations['images']}
        for item in annotations.get('annotations', []):
            if not item.get('ignore', False) and not item['iscrowd']:
                x, y, width, height = item['bbox']
                boxes[item['image_id']].append((x, y, x + width, y + height))
        found = {result['img_id']: result['bboxes'] for result in predicted}
        recalls = proposal_recalls(
            [np.array(value, dtype=np.float32).reshape(-1, 4) for value in boxes.values()],
            [found.get(image, np.zeros((0, 4), np.float32)) for image in boxes],
            self.proposal_nums,
            np.atleast_1d(self.iou_thrs),
        )
        return {
            f'AR@{number}': float(value)
            for number, value in zip(self.proposal_nums, recalls.mean(axis=1), strict=True)
        }


def to_records(predicted: Sequence[dict], category_ids: Sequence[int]) -> dict[str, list[dict]]:
    """Turn predictions into the rows of COCO's result files.

    Args:
        predicted: for each image 'img_id', 'bboxes' (n, 4) corners, 'scores', 'labels' and, with
            masks, 'masks' as run lengths.
        category_ids: the category of each label.

    Returns:
        Rows under 'bbox' and, with masks, under 'segm'.
    """
    with_masks = not predicted or any('masks' in result for result in predicted)
    records: dict[str, list[dict]] = {'bbox': [], **({'segm': []} if with_masks else {})}
    for result in predicted:
        boxes = result['bboxes'].astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        scores = result['scores'].tolist()
        mask_scores = result.get('mask_scores', result['scores']).tolist()
        for row, label in enumerate(result['labels'].tolist()):
            common = dict(
                image_id=result['img_id'],
                bbox=boxes[row].tolist(),
                category_id=category_ids[label],
            )
            records['bbox'].append({**common, 'score': scores[row]})
            if 'masks' in result:
                mask = result['masks'][row]
                records['segm'].append({**common, 'score': mask_scores[row], 'segmentation': mask})
    return records


def annotations_from_samples(truths: Sequence[dict], classes: Sequence[str]) -> dict:
    """Make the content of an annotation file from the annotations that mmdet's samples carry.

    Args:
        truths: for each image id, width, height and instances.
        classes: names of the labels, which become the categories 0, 1, ...
    """
    images = [{key: truth[key] for key in ('id', 'width', 'height')} for truth in truths]
    annotations: list[dict] = []
    for truth in truths:
        for item in truth['instances']:
            x1, y1, x2, y2 = map(float, item['bbox'])
            record: dict = dict(
                id=len(annotations) + 1,
                image_id=truth['id'],
                category_id=int(item['bbox_label']),
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=int(item.get('ignore_flag', 0)),
            )
            if item.get('mask'):
                record['segmentation'] = _text_counts(item['mask'])
            annotations.append(record)
    categories = [dict(id=number, name=name) for number, name in enumerate(classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def _check_finite(result: dict[str, np.ndarray], sample: dict) -> None:
    for key, values in result.items():
        bad = int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum())
        if bad:
            path = f' ({sample["img_path"]})' if 'img_path' in sample else ''
            raise DataError(
                f'{bad} of the {len(values)} predictions for image {sample["img_id"]}{path} have '
                f'{key} that are not finite: the weights or the activations of the model have '
                'overflowed'
            )


def encode_masks(masks: torch.Tensor | Sequence[dict]) -> list[dict | list]:
    """Gives run lengths with text counts, of bit masks (n, height, width) or of run lengths."""
    if isinstance(masks, torch.Tensor):
        from pycocotools import mask as mask_utils

        bits = masks.detach().cpu().numpy().astype(np.uint8)
        masks = [mask_utils.encode(np.asfortranarray(mask)) for mask in bits]
    return [_text_counts(mask) for mask in masks]


def _text_counts(mask: dict | list) -> dict | list:
    """json has no bytes, and other forms of a mask stay as they are."""
    if isinstance(mask, dict) and isinstance(mask['counts'], bytes):
        return {**mask, 'counts': mask['counts'].decode()}
    return mask


def _text(value: float) -> str:
    """A figure; COCO's -1 says that there is nothing to count."""
    return '-' if value < 0 or np.isnan(value) else f'{value:.3f}'


def _log_table(rows: Sequence[Sequence[str]], extra: dict | None = None) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    MMLogger.get_current_instance().info('\n%s', '\n'.join(lines), extra=extra)

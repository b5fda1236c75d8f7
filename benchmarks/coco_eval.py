"""COCO evaluation: mmvmamba's metric against mmdet's, which counts with pycocotools.

    python benchmarks/coco_eval.py [--images 5000] [--detections 100]

Both metrics get the same random boxes through the same calls and must return the same figures. The
time is that of ``evaluate``, from the collected predictions to the figures.
"""

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import mmvmamba  # noqa: F401  before mmdet, which needs the operators of mmcv
from mmvmamba.engine.metrics import CocoMetric

CLASSES = tuple(f'class{number:02}' for number in range(80))
OBJECTS = 7  # per image on average, as in COCO


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Corners in an image of 640 x 480, sizes spread over COCO's three ranges."""
    size = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * np.maximum((640, 480) - size, 1)
    return np.concatenate([corner, corner + size], axis=1)


def make_case(images: int, detections: int) -> tuple[dict, list[dict]]:
    """An annotation file's content and the samples with predictions."""
    rng = np.random.default_rng(0)
    annotations, samples = [], []
    for image in range(images):
        count = rng.poisson(OBJECTS)
        boxes, labels = random_boxes(rng, count), rng.integers(0, len(CLASSES), count)
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=label,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=int(rng.random() < 0.02),
                )
            )
        near = boxes[: detections // 2] + rng.normal(0, 5, (min(count, detections // 2), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        found = np.concatenate([near, random_boxes(rng, detections - len(near))])
        classes = np.concatenate(
            [labels[: len(near)], rng.integers(0, len(CLASSES), detections - len(near))]
        )
        predicted = dict(
            bboxes=torch.tensor(found, dtype=torch.float32),
            scores=torch.tensor(rng.random(detections), dtype=torch.float32),
            labels=torch.tensor(classes),
        )
        samples.append(dict(img_id=image, ori_shape=(480, 640), pred_instances=predicted))
    content = dict(
        images=[dict(id=i, width=640, height=480, file_name=f'{i}.jpg') for i in range(images)],
        annotations=annotations,
        categories=[dict(id=number, name=name) for number, name in enumerate(CLASSES)],
    )
    return content, samples


def run(metric_class: type, path: str, samples: list[dict]) -> tuple[dict, float]:
    """The figures, and the seconds that ``evaluate`` took."""
    items = ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR@100', 'AR@300', 'AR@1000']
    items += ['AR_s@1000', 'AR_m@1000', 'AR_l@1000']
    with contextlib.redirect_stdout(io.StringIO()):
        metric = metric_class(ann_file=path, metric='bbox', metric_items=items)
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, samples)
        start = time.perf_counter()
        figures = metric.evaluate(len(samples))
    return figures, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--detections', type=int, default=100, help='per image')
    parser.add_argument('--repeats', type=int, default=3, help='of mmvmamba; mmdet runs once')
    args = parser.parse_args()
    from mmdet.evaluation.metrics import CocoMetric as MmdetMetric

    content, samples = make_case(args.images, args.detections)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / 'annotations.json')
        Path(path).write_text(json.dumps(content))
        runs = [run(CocoMetric, path, samples) for _ in range(args.repeats)]
        expected, slow = run(MmdetMetric, path, samples)
    for figures, _ in runs:
        if figures != expected:
            raise SystemExit(f'the figures differ: {figures} against {expected}')
    fast = sorted(seconds for _, seconds in runs)
    median = fast[len(fast) // 2]
    print(f'{args.images} images, {args.detections} detections each, {platform.machine()}')
    print('| metric | seconds | spread | speed-up |\n|---|---|---|---|')
    print(f'| mmdet, pycocotools {version("pycocotools")} | {slow:.1f} | one run | 1 |')
    print(
        f'| mmvmamba, faster-coco-eval {version("faster-coco-eval")} | {median:.1f} '
        f'| {fast[0]:.1f}-{fast[-1]:.1f} | {slow / median:.1f} |'
    )


if __name__ == '__main__':
    main()

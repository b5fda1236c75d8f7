"""What a test found: which classes are taken for others, and the images that went worst or best."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
import torch
from mmengine.fileio import get
from torchvision.ops import box_iou

from mmvmamba.visualization.panels import grid_of_pictures
from mmvmamba.visualization.results import draw_guesses, draw_judged

__all__ = [
    'OVERLAP',
    'SCORE',
    'Judgement',
    'Results',
    'class_rows',
    'draw_ranked',
    'judge',
    'read_results',
]

TASKS = ('classification', 'detection')
# A detection counts from this score on, and finds an object from this overlap on.
SCORE, OVERLAP = 0.3, 0.5
# Classes below an image.
SHOWN = 3


@dataclass(frozen=True)
class Judgement:
    """How a detector did on an image.

    Args:
        right: Boxes that found an object, ``[label, left, top, right, bottom, score]``.
        wrong: Boxes that found none.
        missed: Objects that no box found, ``[label, left, top, right, bottom]``.
    """

    right: list[list]
    wrong: list[list]
    missed: list[list]

    @property
    def f1(self) -> float:
        """The share of right ones among objects and boxes; 1 where there is nothing at all."""
        total = 2 * len(self.right) + len(self.wrong) + len(self.missed)
        return 2 * len(self.right) / total if total else 1.0


@dataclass(frozen=True)
class Results:
    """What ``mmvmamba test --out FILE.json`` wrote.

    Args:
        task: 'classification' or 'detection'.
        classes: Name of each label.
        images: A record for each image, as ``mmvmamba.ResultFile`` describes it.
    """

    task: str
    classes: list[str]
    images: list[dict]

    def confusion(self) -> np.ndarray:
        """Counts the images of each class by the class that they were taken for.

        Returns:
            (true classes, predicted classes).

        Raises:
            ValueError: The results are not those of a classification.
        """
        if self.task != 'classification':
            raise ValueError(f'a confusion matrix is that of a classification, not of {self.task}')
        pairs = np.array([[item['truth'], item['labels'][0]] for item in self.images])
        matrix = np.zeros((len(self.classes), len(self.classes)), int)
        np.add.at(matrix, tuple(pairs.T), 1)
        return matrix

    def ranked(self, limit: int, best: bool = False) -> list[dict]:
        """The images that went worst, or best.

        A detector did well on an image if the F1 of its boxes is high; among equals, one with more
        objects is the better example, and one without any is none. A classifier did badly if it was
        sure of a wrong class.

        Args:
            limit: How many at most.
            best: Whether to begin with the best.
        """
        key = _certainty if self.task == 'classification' else _success
        images = sorted(self.images, key=key, reverse=best)
        if best and self.task == 'detection':
            images.sort(key=lambda item: not item['truth'])
        return images[:limit]


def class_rows(matrix: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Says how well each class is known.

    Args:
        matrix: (true classes, predicted classes).
        classes: Their names.

    Returns:
        For each class its name, the number of its images, precision, recall and F1, None for what
        is not defined, and the class that most of its other images were taken for.
    """
    right, predicted, true = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    wrong = matrix - np.diag(right)
    rows = []
    for i, name in enumerate(classes):
        other = int(wrong[i].argmax())
        rows.append(
            {
                'class': name,
                'images': int(true[i]),
                'precision': _share(right[i], predicted[i]),
                'recall': _share(right[i], true[i]),
                'F1': _share(2 * right[i], predicted[i] + true[i]),
                'taken for': f'{classes[other]} ({wrong[i, other]})' if wrong[i, other] else '',
            }
        )
    return rows


def _share(part: int, whole: int) -> float | None:
    return round(float(part / whole), 4) if whole else None


def judge(record: dict) -> Judgement:
    """Compares the boxes of an image with its objects, the surest box first.

    Args:
        record: Of a detection.
    """
    missed = list(record['truth'])
    right, wrong = [], []
    for box in sorted(record['found'], key=lambda item: -item[5]):
        if box[5] < SCORE:
            break
        same = [item for item in missed if item[0] == box[0]]
        overlaps = _overlaps(box[1:5], [item[1:] for item in same])
        if overlaps.max(initial=0) >= OVERLAP:
            right.append(box)
            missed.remove(same[int(overlaps.argmax())])
        elif not _in_crowd(box[1:5], record['ignored']):
            wrong.append(box)
    return Judgement(right, wrong, missed)


def _overlaps(box: Sequence[float], others: Sequence[Sequence[float]]) -> np.ndarray:
    if not others:
        return np.zeros(0)
    return box_iou(torch.tensor([box]), torch.tensor(others))[0].numpy()


def _in_crowd(box: Sequence[float], crowds: Sequence[Sequence[float]]) -> bool:
    """Whether half of a box lies in the box of a crowd."""
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    for x0, y0, x1, y1 in crowds:
        width, height = min(right, x1) - max(left, x0), min(bottom, y1) - max(top, y0)
        if width > 0 and height > 0 and width * height >= OVERLAP * area:
            return True
    return False


def _success(record: dict) -> tuple[float, int]:
    found = judge(record)
    size = len(record['truth'])
    return found.f1, size if found.f1 > 0 else -size


def _certainty(record: dict) -> float:
    is_right = record['labels'][0] == record['truth']
    return record['scores'][0] * (1 if is_right else -1)


def draw_ranked(results: Results, limit: int = 12, best: bool = False) -> np.ndarray:
    """Draws the images that went worst or best.

    Boxes are green if they are right and red if they are wrong; objects that were missed are
    yellow. Below an image of a classification are the best classes.

    Args:
        results: Of a test.
        limit: How many images at most.
        best: Whether to begin with the best.

    Returns:
        RGB, uint8.

    Raises:
        ValueError: An image is not there any more, or cannot be decoded.
    """
    draw = _draw_classes if results.task == 'classification' else _draw_boxes
    pictures = {}
    for number, record in enumerate(results.ranked(limit, best), start=1):
        text, picture = draw(record, _read_image(record['image']), results.classes)
        pictures[f'{number}. {text}'] = picture
    return grid_of_pictures(pictures, len(picture), columns=4)


def _draw_boxes(record: dict, image: np.ndarray, classes: Sequence[str]) -> tuple:
    found = judge(record)
    counts = [
        (len(found.right), 'right'),
        (len(found.wrong), 'wrong'),
        (len(found.missed), 'missed'),
    ]
    text = ', '.join(f'{number} {name}' for number, name in counts)
    return text, draw_judged(image, found.right, found.wrong, found.missed, classes)


def _draw_classes(record: dict, image: np.ndarray, classes: Sequence[str]) -> tuple:
    names = [classes[label] for label in record['labels']][:SHOWN]
    picture = draw_guesses(image, names, record['scores'][:SHOWN], classes[record['truth']])
    return PurePath(record['image']).name, picture


def _read_image(path: str) -> np.ndarray:
    try:
        content = get(path)
    except FileNotFoundError:
        raise ValueError(f'the image {path} is not there any more') from None
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f'the image {path} cannot be decoded')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_results(path: str | Path) -> Results:
    """Reads what ``mmvmamba test --out FILE.json`` wrote.

    Raises:
        ValueError: There is no such file, it is none of these, or it has no image.
    """
    try:
        content = json.loads(Path(path).read_text())
        results = Results(content['task'], content['classes'], content['images'])
        is_sound = results.task in TASKS and all(
            _is_sound(item, results) for item in results.images
        )
    except FileNotFoundError:
        raise ValueError(f'there is no file {path}') from None
    except (IndexError, KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise ValueError(
            f'{path} is no result file: mmvmamba test CONFIG CKPT --out FILE.json writes one'
        )
    if not results.images:
        raise ValueError(f'{path} has the results of no image')
    return results


def _is_sound(record: dict, results: Results) -> bool:
    """Whether a record has what is read of it, in the form in which it is written."""
    truth = record['truth']
    if results.task == 'classification':
        labels = [truth, *record['labels']]
        is_whole = len(record['scores']) == len(record['labels']) > 0
    else:
        boxes = ((truth, 5), (record['found'], 6), (record['ignored'], 4))
        is_whole = all(len(box) == length for group, length in boxes for box in group)
        labels = [box[0] for box in (*truth, *record['found'])]
    is_known = all(0 <= label < len(results.classes) for label in labels)
    return is_whole and is_known and isinstance(record['image'], str)

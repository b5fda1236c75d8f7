"""Pictures of what a test found: a confusion matrix, and images with what was right and wrong."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator
from mmengine.structures import InstanceData

from .charts import new_figure, save
from .panels import BACKGROUND, draw_classes
from .predictions import draw_instances

__all__ = ['draw_confusion', 'draw_guesses', 'draw_judged']

# Up to so many classes have their names at the axes, and up to so many their counts in the cells.
NAMED, COUNTED = 40, 20
MOST_CELLS = 100
BARS = 14
LONGEST_NAME = 22
RIGHT, WRONG, MISSED = (64, 200, 110), (240, 82, 72), (250, 204, 60)
# A title must have room above a picture that is this high.
HEIGHT, LEAST_WIDTH = 320, 290


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], path: str | Path) -> None:
    """Draws how often each class is taken for each, and the most frequent mistakes.

    Args:
        matrix: Numbers of images, (true classes, predicted classes).
        classes: Their names.
        path: Where the picture is written.
    """
    side = min(max(0.42 * len(classes) + 2, 4.6), 9.0)
    figure, (left, right) = new_figure(2, width=side, height=side)
    _draw_matrix(left, matrix, [_cut(name) for name in classes])
    accuracy = 100 * np.trace(matrix) / max(matrix.sum(), 1)
    left.set_title(f'{accuracy:.1f} % of {matrix.sum()} images are right', loc='left', fontsize=11)
    _draw_mistakes(right, matrix, [_cut(name) for name in classes])
    save(figure, path)


def _draw_matrix(axes: Axes, matrix: np.ndarray, names: Sequence[str]) -> None:
    # Of more classes than there are pixels neighbours share a cell.
    fold = -(-len(matrix) // MOST_CELLS)
    starts = range(0, len(matrix), fold)
    folded = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    shares = folded / folded.sum(1, keepdims=True).clip(min=1)
    # The root shows the few that went wrong beside the many that did not.
    end = len(matrix) - 0.5
    axes.imshow(
        shares, cmap='Blues', norm=PowerNorm(0.5, 0, 1), interpolation='nearest',
        extent=(-0.5, end, end, -0.5),
    )  # fmt: skip
    axes.grid(False)
    axes.set_xlabel('predicted' if fold == 1 else f'predicted, {fold} classes in a cell')
    axes.set_ylabel('true')
    if len(names) > NAMED:
        return
    places = range(len(names))
    axes.set_xticks(places, names, rotation=45, ha='right', rotation_mode='anchor', fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    if len(names) > COUNTED:
        return
    for true, predicted in zip(*matrix.nonzero(), strict=True):
        ink = 'white' if shares[true, predicted] > 0.3 else 'black'
        number = str(matrix[true, predicted])
        axes.text(predicted, true, number, ha='center', va='center', color=ink, fontsize=8)


def _draw_mistakes(axes: Axes, matrix: np.ndarray, names: Sequence[str]) -> None:
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind='stable')[:BARS]
    pairs = [divmod(int(i), len(names)) for i in order if wrong.flat[i]]
    axes.set_title('most frequent mistakes', loc='left', fontsize=11)
    if not pairs:
        axes.set_axis_off()
        axes.text(0, 0.9, 'none', transform=axes.transAxes, fontsize=10)
        return
    counts = [wrong[pair] for pair in pairs]
    texts = [f'{names[true]} → {names[predicted]}' for true, predicted in pairs]
    axes.barh(range(len(pairs)), counts, color='#c8553d', height=0.65)
    axes.set_yticks(range(len(pairs)), texts, fontsize=8)
    axes.set_ylim(BARS - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(False, axis='y')
    axes.set_xlabel('images')


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f'{name[: LONGEST_NAME - 1]}…'


def draw_judged(
    image: np.ndarray,
    right: Sequence[Sequence[float]],
    wrong: Sequence[Sequence[float]],
    missed: Sequence[Sequence[float]],
    classes: Sequence[str],
) -> np.ndarray:
    """Draws what a detector found rightly in green, wrongly in red, and what it missed in yellow.

    Args:
        image: RGB, uint8 (H, W, 3).
        right: Boxes as ``[label, left, top, right, bottom, score]``.
        wrong: Likewise.
        missed: Likewise, without a score.
        classes: Name of each label.

    Returns:
        RGB, uint8, of one height for all images.
    """
    groups = ((right, RIGHT), (wrong, WRONG), (missed, MISSED))
    drawn = [(box, colour) for boxes, colour in groups for box in boxes]
    boxes = torch.tensor([box[1:5] for box, _ in drawn]).view(-1, 4) * (HEIGHT / len(image))
    # Each box has a name and a colour of its own.
    instances = InstanceData(bboxes=boxes, labels=torch.arange(len(drawn)))
    names = [_with_score(classes[int(box[0])], box[5:]) for box, _ in drawn]
    return draw_instances(_fit(image), instances, names, [colour for _, colour in drawn])


def draw_guesses(
    image: np.ndarray, names: Sequence[str], scores: Sequence[float], truth: str
) -> np.ndarray:
    """Draws an image with the best classes below it, of one height for all images."""
    return draw_classes(_fit(image), names, scores, truth=truth)


def _fit(image: np.ndarray) -> np.ndarray:
    """Brings an image to the height of the row, with room for a title above it."""
    width = max(1, round(image.shape[1] * HEIGHT / len(image)))
    way = cv2.INTER_AREA if len(image) > HEIGHT else cv2.INTER_CUBIC
    large = cv2.resize(image, (width, HEIGHT), interpolation=way)
    right = max(0, LEAST_WIDTH - width)
    return cv2.copyMakeBorder(large, 0, 0, 0, right, cv2.BORDER_CONSTANT, value=BACKGROUND)


def _with_score(name: str, score: Sequence[float]) -> str:
    return f'{name} {100 * score[0]:.0f} %' if score else name

"""Pictures of predictions that stay readable at any image size."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

__all__ = ['draw_classes', 'draw_instances', 'draw_regions', 'enlargement', 'side_by_side']

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.5
MASK_WEIGHT = 0.45
HEADER = 24
BACKGROUND = (30, 30, 30)
INK = (235, 235, 235)
# Pictures whose shorter side is above this number of pixels get larger text and thicker lines.
NORMAL_SIDE = 450
ROW = 20


def enlargement(image: np.ndarray, min_side: int = 400) -> int:
    """The whole factor by which the shorter side gets at least ``min_side`` pixels."""
    return max(1, -(-min_side // min(image.shape[:2])))


def _scale(picture: np.ndarray) -> float:
    return max(1.0, min(picture.shape[:2]) / NORMAL_SIDE)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def _text(
    image: np.ndarray, text: str, x: int, y: int, colour: Sequence[int], scale: float
) -> None:
    """Writes in black or white on a filled box whose bottom left corner is (x, y), kept inside."""
    thickness = round(scale)
    (width, height), base = cv2.getTextSize(text, FONT, FONT_SCALE * scale, thickness)
    x = max(0, min(x, image.shape[1] - width - 4))
    y = max(0, min(y - height - base - 2, image.shape[0] - height - base - 2))
    cv2.rectangle(image, (x, y), (x + width + 4, y + height + base + 2), tuple(colour), -1)
    ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
    _write(image, text, x + 2, y + height + 1, ink, scale)


def _write(
    image: np.ndarray, text: str, x: int, y: int, ink: Sequence[int], scale: float = 1.0
) -> None:
    """Writes with the lower left corner of the text at (x, y)."""
    cv2.putText(image, text, (x, y), FONT, FONT_SCALE * scale, ink, round(scale), cv2.LINE_AA)


def draw_instances(
    image: np.ndarray,
    instances: InstanceData,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    factor: int = 1,
) -> np.ndarray:
    """Draws boxes, masks, class names and scores.

    Args:
        image: RGB image, uint8 (H, W, 3).
        instances: ``bboxes`` (n, 4) and ``labels`` (n,), and if there are any ``scores`` (n,) and
            ``masks`` (n, H, W), in the image's coordinates.
        classes: Name of each label.
        palette: RGB colour of each label.
        factor: The picture is enlarged by this whole number before anything is drawn.

    Returns:
        The picture, uint8 (factor * H, factor * W, 3).
    """
    picture = _enlarge(image, factor)
    scale = _scale(picture)
    boxes = instances.bboxes
    boxes = (getattr(boxes, 'tensor', boxes).numpy() * factor).round().astype(int)
    labels = instances.labels.tolist()
    if 'masks' in instances:
        masks = instances.masks
        masks = masks.numpy() if isinstance(masks, torch.Tensor) else masks.to_ndarray()
        for mask, label in zip(masks.astype(bool), labels, strict=True):
            large = np.kron(mask, np.ones((factor, factor), bool))
            mixed = (1 - MASK_WEIGHT) * picture[large] + MASK_WEIGHT * np.array(palette[label])
            picture[large] = mixed.astype(np.uint8)
    colours = [[int(value) for value in palette[label]] for label in labels]
    # The best come first; drawn last, they are on top. No box crosses a text.
    for (left, top, right, bottom), colour in reversed(list(zip(boxes, colours, strict=True))):
        cv2.rectangle(picture, (left, top), (right, bottom), colour, round(2 * scale))
    for i in reversed(range(len(labels))):
        score = f' {100 * float(instances.scores[i]):.0f}%' if 'scores' in instances else ''
        left, top = boxes[i, :2]
        _text(picture, f'{classes[labels[i]]}{score}', left, top, colours[i], scale)
    return picture


def draw_regions(
    image: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    factor: int = 1,
) -> np.ndarray:
    """Draws a label map over the image, with a legend of its classes on the right.

    Args:
        image: RGB image, uint8 (H, W, 3).
        labels: Class of each pixel (H, W); what is no class is left as it is.
        classes: Name of each label.
        palette: RGB colour of each label.
        factor: The picture is enlarged by this whole number.

    Returns:
        The picture, uint8 (factor * H, factor * W + legend, 3).
    """
    picture = _enlarge(image, factor)
    scale = _scale(picture)
    large = np.kron(labels, np.ones((factor, factor), labels.dtype))
    known = large < len(classes)
    colours = np.array(palette, np.uint8)[np.where(known, large, 0)]
    mixed = cv2.addWeighted(picture, 1 - MASK_WEIGHT, colours, MASK_WEIGHT, 0)
    picture = np.where(known[..., None], mixed, picture)
    counts = np.bincount(labels[labels < len(classes)].ravel(), minlength=len(classes))
    found = [label for label in np.argsort(-counts, kind='stable') if counts[label]]
    rows = [(f'{classes[i]} {100 * counts[i] / labels.size:.1f}%', palette[i]) for i in found]
    return np.hstack([picture, _legend(rows, len(picture), scale)])


def _legend(rows: Sequence[tuple[str, Sequence[int]]], height: int, scale: float) -> np.ndarray:
    """A column of coloured squares with a text each, as many as there is room for."""
    row = round(ROW * scale)
    room = max(height // row, 1)
    if len(rows) > room:
        rows = [*rows[: room - 1], (f'and {len(rows) - room + 1} more', BACKGROUND)]
    sizes = [cv2.getTextSize(text, FONT, FONT_SCALE * scale, 1)[0][0] for text, _ in rows]
    legend = np.full((height, 2 * row + max(sizes, default=0), 3), BACKGROUND, np.uint8)
    for i, (text, colour) in enumerate(rows):
        top, edge = i * row, row // 5
        cv2.rectangle(
            legend, (edge, top + edge), (row - edge, top + row - edge), list(map(int, colour)), -1
        )
        _write(legend, text, row + edge, top + row - row // 4, INK, scale)
    return legend


def draw_classes(
    image: np.ndarray, names: Sequence[str], scores: Sequence[float], factor: int = 1
) -> np.ndarray:
    """Puts a list of classes and their scores, as text and as bars, below the image.

    Args:
        image: RGB image, uint8 (H, W, 3).
        names: The classes, best first.
        scores: Their scores, from 0 to 1.
        factor: The picture is enlarged by this whole number.

    Returns:
        The picture, uint8, as wide as the enlarged image.
    """
    picture = _enlarge(image, factor)
    scale = _scale(picture)
    row, width = round(ROW * scale), picture.shape[1]
    panel = np.full((row * len(names), width, 3), BACKGROUND, np.uint8)
    for i, (name, score) in enumerate(zip(names, scores, strict=True)):
        bottom = (i + 1) * row
        bar = round(score * width), bottom - round(2 * scale)
        cv2.rectangle(panel, (0, i * row), bar, (60, 110, 170), -1)
        _write(panel, f'{100 * score:5.1f}% {name}', 4, bottom - row // 4, INK, scale)
    return np.vstack([picture, panel])


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Puts pictures of one height next to each other, each under its title."""
    columns = []
    for title, picture in pictures.items():
        column = cv2.copyMakeBorder(picture, HEADER, 0, 0, 4, cv2.BORDER_CONSTANT, value=BACKGROUND)
        _write(column, title, 6, 17, INK)
        columns.append(column)
    return np.hstack(columns)

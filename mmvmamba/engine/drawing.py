"""Pictures of detections that stay readable at any image size."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

__all__ = ['draw_instances', 'side_by_side']

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.5
MASK_WEIGHT = 0.45
HEADER = 24


def _text(image: np.ndarray, text: str, x: int, y: int, colour: Sequence[int]) -> None:
    """Writes in black or white on a filled box whose top left corner is (x, y), kept inside."""
    (width, height), base = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    x = max(0, min(x, image.shape[1] - width - 4))
    y = max(0, min(y, image.shape[0] - height - base - 2))
    cv2.rectangle(image, (x, y), (x + width + 4, y + height + base + 2), tuple(colour), -1)
    ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
    cv2.putText(image, text, (x + 2, y + height + 1), FONT, FONT_SCALE, ink, 1, cv2.LINE_AA)


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
    picture = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    boxes = instances.bboxes
    boxes = (getattr(boxes, 'tensor', boxes).numpy() * factor).round().astype(int)
    labels = instances.labels.tolist()
    if 'masks' in instances:
        masks = instances.masks
        masks = masks.numpy() if isinstance(masks, torch.Tensor) else masks.to_ndarray()
        for mask, label in zip(masks.astype(bool), labels, strict=True):
            large = np.kron(mask, np.ones((factor, factor), bool))
            colour = np.array(palette[label])
            mixed = (1 - MASK_WEIGHT) * picture[large] + MASK_WEIGHT * colour
            picture[large] = mixed.astype(np.uint8)
    for i, ((left, top, right, bottom), label) in enumerate(zip(boxes, labels, strict=True)):
        colour = [int(value) for value in palette[label]]
        cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)
        score = f' {100 * float(instances.scores[i]):.0f}%' if 'scores' in instances else ''
        _text(picture, f'{classes[label]}{score}', left, top - 20, colour)
    return picture


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Puts pictures of one height next to each other, each under its title."""
    columns = []
    for title, picture in pictures.items():
        column = cv2.copyMakeBorder(
            picture, HEADER, 0, 0, 4, cv2.BORDER_CONSTANT, value=(30, 30, 30)
        )
        cv2.putText(column, title, (6, 17), FONT, FONT_SCALE, (235, 235, 235), 1, cv2.LINE_AA)
        columns.append(column)
    return np.hstack(columns)

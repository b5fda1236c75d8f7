"""Pictures of predictions that stay readable at any image size."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

from .colours import ink_on
from .panels import draw_legend, enlarge, letter_size, picture_scale
from .text import label, text_height, text_width, write_outlined

__all__ = ['OPACITY', 'draw_instances', 'draw_regions']

OPACITY = 0.6
MASK_OPACITY = 0.45
EDGE = (22, 22, 22)
# Parts of this share of the picture carry their names.
LARGE = 0.015
MIDDLE_GREY = 128


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
    picture = enlarge(image, factor)
    boxes = instances.bboxes
    boxes = (getattr(boxes, 'tensor', boxes).numpy() * factor).round().astype(int)
    labels = instances.labels.tolist()
    colours = [_colour(palette[label]) for label in labels]
    line = round(2 * picture_scale(picture))
    if 'masks' in instances:
        masks = instances.masks
        masks = masks.numpy() if isinstance(masks, torch.Tensor) else masks.to_ndarray()
        for mask, colour in zip(masks, colours, strict=True):
            _draw_mask(picture, _repeat(mask.astype(np.uint8), factor), colour, line)
    # The best come first; drawn last, they are on top. No box crosses a text.
    for (left, top, right, bottom), colour in reversed(list(zip(boxes, colours, strict=True))):
        cv2.rectangle(picture, (left, top), (right, bottom), colour, line)
    for i in reversed(range(len(labels))):
        score = f' {100 * float(instances.scores[i]):.0f} %' if 'scores' in instances else ''
        text, (left, top) = f'{classes[labels[i]]}{score}', boxes[i, :2]
        ink = ink_on(colours[i])
        label(picture, text, left, top, letter_size(picture), colours[i], ink)
    return picture


def _colour(values: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def _draw_mask(picture: np.ndarray, mask: np.ndarray, colour: Sequence[int], line: int) -> None:
    inside = mask.astype(bool)
    mixed = (1 - MASK_OPACITY) * picture[inside] + MASK_OPACITY * np.array(colour)
    picture[inside] = mixed.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, max(1, line // 2), cv2.LINE_AA)


def draw_regions(
    image: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    factor: int = 1,
    opacity: float = OPACITY,
) -> np.ndarray:
    """Draws a label map over the image, with a legend of its classes on the right.

    The more opaque the colours are, the greyer and flatter is the image below them: a colour in the
    picture is then that of the legend, only lighter or darker.

    Args:
        image: RGB image, uint8 (H, W, 3).
        labels: Class of each pixel (H, W); what is no class is left as it is.
        classes: Name of each label.
        palette: RGB colour of each label.
        factor: The picture is enlarged by this whole number.
        opacity: Of the colours, from 0 to 1.

    Returns:
        The picture, uint8 (factor * H, factor * W + legend, 3).

    Raises:
        ValueError: The opacity is none.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f'opacity must be from 0 to 1, got {opacity}')
    picture = enlarge(image, factor)
    large = _repeat(labels, factor)
    known = large < len(classes)
    colours = np.array(palette, np.uint8)[np.where(known, large, 0)]
    mixed = cv2.addWeighted(_quiet(picture, opacity), 1 - opacity, colours, opacity, 0)
    picture = np.where(known[..., None], mixed, picture)
    _draw_edges(picture, large, round(picture_scale(picture)))
    size = letter_size(picture)
    _draw_names(picture, labels, classes, factor, size)
    counts = np.bincount(labels[labels < len(classes)].ravel(), minlength=len(classes))
    found = [i for i in np.argsort(-counts, kind='stable') if counts[i]]
    shades = opacity * np.array(palette, float) + (1 - opacity) * MIDDLE_GREY
    rows = [(classes[i], _share(counts[i] / labels.size), shades[i]) for i in found]
    return np.hstack([picture, draw_legend(rows, len(picture), size)])


def _share(share: float) -> str:
    return f'{100 * share:.1f} %' if share >= 0.0005 else '< 0.1 %'


def _repeat(values: np.ndarray, factor: int) -> np.ndarray:
    return values.repeat(factor, 0).repeat(factor, 1)


def _quiet(picture: np.ndarray, opacity: float) -> np.ndarray:
    """The picture without its colours, and with half of its contrast, from opacity 0.5 on."""
    share = min(1.0, 2 * opacity)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    flat = cv2.addWeighted(grey, 0.5, np.full_like(grey, MIDDLE_GREY), 0.5, 0)
    return cv2.addWeighted(picture, 1 - share, flat, share, 0)


def _draw_edges(picture: np.ndarray, labels: np.ndarray, width: int) -> None:
    """Draws a dark line where one class ends and another begins."""
    edges: np.ndarray = np.zeros(labels.shape, np.uint8)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    if width > 1:
        edges = cv2.dilate(edges, np.ones((width, width), np.uint8))
    picture[edges.astype(bool)] = EDGE


def _draw_names(
    picture: np.ndarray, labels: np.ndarray, classes: Sequence[str], factor: int, size: int
) -> None:
    """Writes the name of its class on each large connected part where there is room for it."""
    for i in np.unique(labels[labels < len(classes)]):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((labels == i).astype(np.uint8))
        for part in range(1, count):
            if stats[part, cv2.CC_STAT_AREA] < LARGE * labels.size:
                continue
            # The place that is farthest from any edge, that of the picture included.
            mask = np.pad((parts == part).astype(np.uint8), 1)
            depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            half_width = (text_width(classes[i], size, bold=True) // 2 + 2) / factor
            half_height = text_height(size) / 2 / factor
            rows = slice(max(0, round(y - half_height)), round(y + half_height) + 1)
            columns = slice(max(0, round(x - half_width)), round(x + half_width) + 1)
            inside = min(x, labels.shape[1] - x) >= half_width
            if inside and (parts[rows, columns] == part).mean() > 0.8:
                centre = int((x + 0.5) * factor), int((y + 0.5) * factor)
                write_outlined(picture, classes[i], *centre, size)

"""Maps over an image: what a class depends on, what a token sees, what is in the features."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from mmvmamba.models.backbones.base import BaseBackbone, backbone_of

from .panels import side_by_side

__all__ = [
    'class_activation',
    'draw_heat',
    'draw_paths',
    'feature_colours',
    'receptive_field',
]

CELL = 40
MOST = 420
PAPER = (250, 250, 248)


def draw_heat(image: np.ndarray, heat: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Lays a map over an image, the lowest value dark blue and the highest one yellow.

    Args:
        image: RGB image, uint8 (H, W, 3).
        heat: Values of any size and scale, (h, w).
        opacity: Of the colours.
    """
    heat = heat.astype(np.float32)
    scaled = (heat - heat.min()) / max(float(heat.max() - heat.min()), 1e-12)
    height, width = image.shape[:2]
    large = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((255 * large).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    colours = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(image, 1 - opacity, colours, opacity, 0)


def draw_paths(paths: Tensor, grid: tuple[int, int], titles: Sequence[str] = ()) -> np.ndarray:
    """Draws the way of a scan over a grid, the first steps blue and the last ones red.

    Args:
        paths: Places in the order of visit, (directions, steps).
        grid: Height and width.
        titles: One for each direction.
    """
    titles = titles or [f'direction {i + 1} of {len(paths)}' for i in range(len(paths))]
    return side_by_side(
        {title: _path(path.tolist(), grid) for title, path in zip(titles, paths, strict=True)}
    )


def _path(path: Sequence[int], grid: tuple[int, int]) -> np.ndarray:
    height, width = grid
    cell = max(8, min(CELL, MOST // max(grid)))
    # Narrow grids leave room for the title.
    picture = np.full((height * cell, max(width * cell, 170), 3), PAPER, np.uint8)
    for row in range(height + 1):
        cv2.line(picture, (0, row * cell), (width * cell, row * cell), (222, 222, 222), 1)
    for column in range(width + 1):
        cv2.line(picture, (column * cell, 0), (column * cell, height * cell), (222, 222, 222), 1)
    shades = np.linspace(0, 255, len(path)).astype(np.uint8)[:, None]
    colours = cv2.applyColorMap(shades, cv2.COLORMAP_TURBO)[:, 0, ::-1].tolist()
    points = [(i % width * cell + cell // 2, i // width * cell + cell // 2) for i in path]
    for start, end, colour in zip(points, points[1:], colours[1:], strict=False):
        tip = min(0.5, 0.3 * cell / max(abs(end[0] - start[0]) + abs(end[1] - start[1]), 1))
        cv2.arrowedLine(picture, start, end, colour, 1 + cell // 20, cv2.LINE_AA, tipLength=tip)
    cv2.circle(picture, points[0], cell // 4, colours[0], -1, cv2.LINE_AA)
    cv2.rectangle(picture, *_square(points[-1], cell // 5), colours[-1], -1)
    return picture


def _square(centre: tuple[int, int], half: int) -> tuple[tuple[int, int], tuple[int, int]]:
    x, y = centre
    return (x - half, y - half), (x + half, y + half)


def receptive_field(backbone: BaseBackbone, images: Tensor, stage: int = -1) -> np.ndarray:
    """The effective receptive field: how much the middle of a map depends on each pixel.

    Args:
        backbone: One of ours, in evaluation mode.
        images: A batch; gradients are averaged over it, so that a few random ones do.
        stage: Of the map.

    Returns:
        Mean absolute gradients, (H, W).
    """
    images = images.clone().requires_grad_()
    stage %= len(backbone.stage_channels)
    _, (features,) = backbone.feature_maps(images, (stage,))
    middle = features[..., features.shape[2] // 2, features.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle.clamp(min=0).sum(), images)
    return gradient.abs().mean(dim=(0, 1)).numpy()


def class_activation(model: Any, image: Tensor, label: int | None = None) -> tuple:
    """Where a classifier sees a class: Grad-CAM on the last map, as its neck takes it.

    Where the map is pooled and a linear layer follows, the mean of all, what is negative included,
    is the score of the class but for the bias. A model with a class token pools nothing; there the
    patches are looked at along the gradient of the token.

    Args:
        model: A classifier of mmpretrain with one of our backbones, in evaluation mode.
        image: ``(1, C, H, W)``, prepared.
        label: The class; None for the best one.

    Returns:
        The map, (h, w), and the class.
    """
    backbone = backbone_of(model)
    with torch.no_grad():
        output = backbone(image)[-1]
    output = output.detach().requires_grad_()
    logits = model.head((output,) if model.neck is None else model.neck((output,)))[0]
    label = int(logits.argmax()) if label is None else label
    (gradient,) = torch.autograd.grad(logits[label], output)
    features, weights = output.detach(), gradient
    if output.dim() == 4:
        weights = gradient.sum(dim=(2, 3))
    else:
        with torch.no_grad():
            _, (features,) = backbone.feature_maps(image, (len(backbone.stage_channels) - 1,))
    heat = torch.einsum('c,chw->hw', weights[0], features[0])
    return heat.clamp(min=0).numpy(), label


def feature_colours(features: Tensor) -> np.ndarray:
    """Shows a map in three colours: its directions of largest variation.

    Args:
        features: ``(C, h, w)``.

    Returns:
        RGB, uint8 (h, w, 3).
    """
    height, width = features.shape[1:]
    rows = features.flatten(1).T.double()
    rows = rows - rows.mean(0)
    count = min(3, *rows.shape)
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    # A direction and its opposite are the same; the larger part is the positive one.
    directions = directions[:count]
    signs = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()
    values = torch.zeros(len(rows), 3, dtype=rows.dtype)
    values[:, :count] = rows @ (directions * signs).T
    low, high = values.quantile(0.02, dim=0), values.quantile(0.98, dim=0)
    scaled = ((values - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return (255 * scaled).byte().view(height, width, 3).numpy()

"""Random scenes: textured shapes that overlap, in front of a quiet background."""

import colorsys
from dataclasses import dataclass

import numpy as np

from .shapes import paint_texture, shape_mask

__all__ = ['SceneObject', 'draw_scene', 'random_size']

# An object that keeps less of itself than this behind later ones is not placed.
MIN_VISIBLE = 0.45
MIN_PIXELS = 60
# How far a class's hue strays, of the colour circle's 1.
HUE_SPREAD = 0.04


@dataclass
class SceneObject:
    """One object of a scene.

    Args:
        name: Its class, a key of ``SHAPES``.
        mask: The pixels that are seen, boolean (height, width).
        is_crowd: Whether it stands for a heap of small shapes of one class.
    """

    name: str
    mask: np.ndarray
    is_crowd: bool = False


def random_size(rng: np.random.Generator, low: int = 96, high: int = 160) -> tuple[int, int]:
    """Draws an image size, (height, width), odd numbers included."""
    return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))


def _vivid_colours(rng: np.random.Generator, hue: float | None) -> np.ndarray:
    hue = rng.uniform() if hue is None else (hue + rng.uniform(-HUE_SPREAD, HUE_SPREAD)) % 1
    first = colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.75, 1))
    second = colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.45, 0.6))
    return 255 * np.array([first, second])


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    grey = rng.uniform(40, 215)
    corners = grey + rng.uniform(-25, 25, (4, 3))
    rows = np.linspace(0, 1, height)[:, None, None]
    columns = np.linspace(0, 1, width)[None, :, None]
    top = corners[0] * (1 - columns) + corners[1] * columns
    bottom = corners[2] * (1 - columns) + corners[3] * columns
    return top * (1 - rows) + bottom * rows


def _place(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    radius = rng.uniform(0.1, 0.24) * min(height, width)
    centre = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height)
    return shape_mask(name, height, width, centre, radius, rng.uniform(0, 2 * np.pi))


def _place_portrait(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    radius = rng.uniform(0.3, 0.42) * min(height, width)
    x, y = rng.uniform(0.42, 0.58, 2) * (width, height)
    return shape_mask(name, height, width, (x, y), radius, rng.uniform(-0.3, 0.3))


def _place_crowd(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    middle = rng.uniform(0.25, 0.75, 2) * (width, height)
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(8, 14)):
        x, y = middle + rng.normal(0, 0.11 * min(height, width), 2)
        radius = rng.uniform(0.035, 0.055) * min(height, width)
        mask |= shape_mask(name, height, width, (x, y), radius, rng.uniform(0, 2 * np.pi))
    return mask


def _hides_too_much(new: np.ndarray, objects: list[SceneObject], full: list[int]) -> bool:
    for seen, size in zip(objects, full, strict=True):
        left = np.count_nonzero(seen.mask & ~new)
        if left < max(MIN_VISIBLE * size, MIN_PIXELS):
            return True
    return False


def draw_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    classes: tuple[str, ...],
    num_objects: int,
    crowd_probability: float = 0.0,
    is_portrait: bool = False,
    hues: dict[str, float] | None = None,
) -> tuple[np.ndarray, list[SceneObject]]:
    """Draws a scene.

    Args:
        rng: Source of randomness; the same state gives the same scene.
        size: Height and width in pixels.
        classes: Shapes to choose from.
        num_objects: How many objects to try to place; one that would hide another is left out.
        crowd_probability: Chance that a heap of small shapes, marked as crowd, lies behind the
            objects.
        is_portrait: Whether objects are large, near the middle and about upright.
        hues: About which hue, 0 to 1, the objects of a class are painted in; without it, in any.

    Returns:
        The image, uint8 RGB (height, width, 3), and its objects from back to front.
    """
    height, width = size
    image = _background(rng, height, width)
    objects: list[SceneObject] = []
    full: list[int] = []
    crowds = int(rng.uniform() < crowd_probability)
    for index in range(crowds + num_objects):
        name = classes[rng.integers(len(classes))]
        is_crowd = index < crowds
        place = _place_crowd if is_crowd else _place_portrait if is_portrait else _place
        mask = place(rng, name, height, width)
        if np.count_nonzero(mask) < MIN_PIXELS or _hides_too_much(mask, objects, full):
            continue
        colours = _vivid_colours(rng, None if hues is None else hues[name])
        texture = paint_texture(rng, height, width, colours)
        image = np.where(mask[..., None], texture, image)
        for behind in objects:
            behind.mask &= ~mask
        objects.append(SceneObject(name, mask, is_crowd))
        full.append(int(np.count_nonzero(mask)))
    image = image + rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8), objects

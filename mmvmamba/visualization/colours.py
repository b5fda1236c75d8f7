"""Colours that people can tell apart, chosen by their distances in a perceptual space (Oklab)."""

from collections.abc import Sequence
from functools import cache

import numpy as np

__all__ = ['class_colours', 'distinct_colours', 'ink_on', 'nearest_distance', 'oklab']

# Björn Ottosson's matrices, https://bottosson.github.io/posts/oklab/: linear RGB to the cones'
# answers, and their cube roots to lightness and two axes of colour.
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
AXES = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# Colours that are seen on dark and on light ground, and are no greys.
LIGHTNESS = (0.5, 0.9)
CHROMA = (0.08, 0.22)
# Two colours nearer to each other than this are mixed up in a legend.
DISTINCT = 0.1
STEPS = 18


def oklab(colours: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """Turns RGB colours, 0 to 255, into Oklab: equal distances look equally different.

    Args:
        colours: (n, 3).

    Returns:
        Lightness, from 0 to 1, and the two axes of colour, (n, 3).
    """
    values = np.asarray(colours, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ CONES.T) @ AXES.T


def nearest_distance(colours: Sequence[Sequence[int]] | np.ndarray) -> float:
    """The Oklab distance of the two colours that look most alike; infinite for fewer than two."""
    points = oklab(colours)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(initial=np.inf))


@cache
def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Chooses colours, each as far as can be from those before it.

    The first of many are the same as those of few.

    Args:
        count: How many.

    Returns:
        RGB colours, 0 to 255. They repeat from about two thousand on.
    """
    steps = np.linspace(0, 255, STEPS).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), axis=-1).reshape(-1, 3)
    points = oklab(grid)
    lightness, chroma = points[:, 0], np.hypot(points[:, 1], points[:, 2])
    usable = (LIGHTNESS[0] < lightness) & (lightness < LIGHTNESS[1])
    usable &= (CHROMA[0] < chroma) & (chroma < CHROMA[1])
    grid, points = grid[usable], points[usable]
    # A strong red-orange is the first: the point farthest along the warm axes.
    chosen = [int((points[:, 1] + 0.5 * points[:, 2]).argmax())]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    colours = [(int(red), int(green), int(blue)) for red, green, blue in grid[chosen]]
    return tuple(colours[i % len(colours)] for i in range(count))


def class_colours(palette: object, count: int) -> Sequence[Sequence[int]]:
    """The data set's own colours where they can be told apart, otherwise ours.

    Args:
        palette: Of the data set's ``metainfo``: RGB colours by class, or anything else for none.
        count: Number of classes.
    """
    if isinstance(palette, list | tuple) and len(palette) >= count:
        own = [tuple(map(int, colour)) for colour in palette[:count]]
        if nearest_distance(own) >= DISTINCT:
            return own
    return distinct_colours(count)


def ink_on(colour: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever can be read on a colour."""
    return (0, 0, 0) if oklab([colour])[0, 0] > 0.62 else (255, 255, 255)

"""Masks and textures of the shapes that the generated data sets are made of."""

import numpy as np

__all__ = ['SHAPES', 'paint_texture', 'shape_mask']

TEXTURES = ('plain', 'stripes', 'checks', 'dots')


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u**2 + v**2 <= 1


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) <= 0.85


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (v <= 0.55) & (v >= 1.8 * abs(u) - 1.1)


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius = u**2 + v**2
    return (radius <= 1) & (radius >= 0.3)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.minimum(abs(u), abs(v)) <= 0.3) & (np.maximum(abs(u), abs(v)) <= 0.95)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) <= 0.68 + 0.32 * np.cos(5 * np.arctan2(v, u))


# Each takes coordinates in which the shape fills about [-1, 1] x [-1, 1].
SHAPES = {
    'disc': _disc,
    'square': _square,
    'triangle': _triangle,
    'ring': _ring,
    'cross': _cross,
    'star': _star,
}


def _local_grid(
    height: int, width: int, centre: tuple[float, float], radius: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def shape_mask(
    name: str,
    height: int,
    width: int,
    centre: tuple[float, float],
    radius: float,
    angle: float = 0.0,
) -> np.ndarray:
    """Draws one shape as a mask; what lies outside the image is cut off.

    Args:
        name: A key of ``SHAPES``.
        height: Rows of the image.
        width: Columns of the image.
        centre: Centre as (x, y) in pixels.
        radius: Half the side of the shape's square, in pixels.
        angle: Rotation in radians.

    Returns:
        Boolean array (height, width).
    """
    if name not in SHAPES:
        raise ValueError(f'shape must be one of {list(SHAPES)}, got {name!r}')
    return SHAPES[name](*_local_grid(height, width, centre, radius, angle))


def paint_texture(
    rng: np.random.Generator, height: int, width: int, colours: np.ndarray
) -> np.ndarray:
    """Fills an image with a texture drawn at random from ``TEXTURES``.

    Args:
        rng: Source of randomness.
        height: Rows of the image.
        width: Columns of the image.
        colours: Two RGB colours, (2, 3).

    Returns:
        Float array (height, width, 3).
    """
    texture = TEXTURES[rng.integers(len(TEXTURES))]
    period = rng.uniform(5, 10)
    u, v = _local_grid(height, width, (0, 0), period, rng.uniform(0, np.pi))
    if texture == 'plain':
        second = np.zeros((height, width), bool)
    elif texture == 'stripes':
        second = u % 1 < 0.4
    elif texture == 'checks':
        second = (u % 1 < 0.5) ^ (v % 1 < 0.5)
    else:
        second = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09
    return np.where(second[..., None], colours[1], colours[0])

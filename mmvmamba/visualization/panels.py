"""What stands around an image: titles, a legend, bars."""

from collections.abc import Sequence

import cv2
import numpy as np

from .text import text_width, write

__all__ = [
    'BACKGROUND',
    'HEADER',
    'INK',
    'draw_classes',
    'draw_legend',
    'enlarge',
    'enlargement',
    'grid_of_pictures',
    'letter_size',
    'picture_scale',
    'row_of_pictures',
    'side_by_side',
]

LETTERS = 13
COLUMNS = 3
HEADER = 26
BACKGROUND = (24, 26, 30)
INK = (232, 234, 237)
FAINT_INK = (150, 155, 163)
TRACK = (44, 48, 55)
NEUTRAL, RIGHT, WRONG = (66, 120, 190), (58, 150, 92), (190, 78, 70)
# Pictures whose shorter side is above this number of pixels get larger text and thicker lines.
NORMAL_SIDE = 450
LONGEST = 4096


def enlargement(image: np.ndarray, min_side: int = 400) -> int:
    """The whole factor by which the shorter side gets at least ``min_side`` pixels.

    That of a strip is smaller: no side is enlarged beyond ``LONGEST`` pixels.
    """
    short, long = sorted(image.shape[:2])
    return max(1, min(-(-min_side // short), LONGEST // long))


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """A copy, a whole factor larger, with soft edges."""
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def picture_scale(picture: np.ndarray) -> float:
    """How much thicker lines and larger letters are than in a picture of normal size."""
    return max(1.0, min(picture.shape[:2]) / NORMAL_SIDE)


def letter_size(picture: np.ndarray) -> int:
    """Pixels of the letters that fit a picture."""
    return round(LETTERS * picture_scale(picture))


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Puts pictures of one height next to each other, each under its title."""
    columns = []
    for title, picture in pictures.items():
        column = cv2.copyMakeBorder(picture, HEADER, 0, 0, 4, cv2.BORDER_CONSTANT, value=BACKGROUND)
        write(column, title, 6, HEADER // 2, LETTERS + 1, INK, bold=True)
        columns.append(column)
    return np.hstack(columns)


def row_of_pictures(pictures: dict[str, np.ndarray], height: int = 320) -> np.ndarray:
    """Brings pictures to one height and puts them side by side with their titles."""
    resized = {}
    for title, picture in pictures.items():
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        way = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_NEAREST
        resized[title] = cv2.resize(picture, (width, height), interpolation=way)
    return side_by_side(resized)


def grid_of_pictures(
    pictures: dict[str, np.ndarray], height: int = 300, columns: int = 4
) -> np.ndarray:
    """Brings pictures to one height and lays them out in rows, each under its title."""
    titles = list(pictures)
    rows = [
        row_of_pictures({title: pictures[title] for title in titles[i : i + columns]}, height)
        for i in range(0, len(titles), columns)
    ]
    width = max(row.shape[1] for row in rows)
    return np.vstack([_pad(row, width) for row in rows])


def _pad(row: np.ndarray, width: int) -> np.ndarray:
    right = width - row.shape[1]
    return cv2.copyMakeBorder(row, 0, 6, 0, right, cv2.BORDER_CONSTANT, value=BACKGROUND)


def draw_legend(
    rows: Sequence[tuple[str, str, Sequence[int]]], height: int, size: int
) -> np.ndarray:
    """Draws a panel of coloured squares with a name and a figure each, in up to three columns.

    Args:
        rows: Name, figure and RGB colour, the most important first.
        height: Of the panel; what there is no room for is counted in the last row.
        size: Of the letters, in pixels.

    Returns:
        uint8 (height, as wide as is needed, 3).
    """
    room = max((height - size) // _row_height(size), 1)
    if len(rows) > COLUMNS * room:
        left = len(rows) - COLUMNS * room + 1
        rows = [*rows[: COLUMNS * room - 1], (f'and {left} more', '', BACKGROUND)]
    starts = range(0, max(len(rows), 1), room)
    return np.hstack([_legend_column(rows[i : i + room], height, size) for i in starts])


def _row_height(size: int) -> int:
    return round(1.7 * size)


def _legend_column(
    rows: Sequence[tuple[str, str, Sequence[int]]], height: int, size: int
) -> np.ndarray:
    names = max((text_width(name, size) for name, _, _ in rows), default=0)
    figures = max((text_width(figure, size) for _, figure, _ in rows), default=0)
    width, step = names + figures + 5 * size, _row_height(size)
    panel = np.full((height, width, 3), BACKGROUND, np.uint8)
    for i, (name, figure, colour) in enumerate(rows):
        middle = size // 2 + i * step + step // 2
        top = middle - round(0.6 * size)
        panel[max(top, 0) : top + round(1.2 * size), size : round(2.2 * size)] = colour
        write(panel, name, 3 * size, middle, size, INK)
        write(panel, figure, width - size - text_width(figure, size), middle, size, FAINT_INK)
    return panel


def draw_classes(
    image: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float],
    factor: int = 1,
    truth: str | None = None,
) -> np.ndarray:
    """Puts a list of classes and their scores, as text and as bars, below the image.

    Args:
        image: RGB image, uint8 (H, W, 3).
        names: The classes, best first.
        scores: Their scores, from 0 to 1.
        factor: The picture is enlarged by this whole number.
        truth: The true class where it is known. Its bar is green; the best one is red if it is
            another, and the truth is named above.

    Returns:
        The picture, uint8, as wide as the enlarged image.
    """
    picture = enlarge(image, factor)
    size, width = letter_size(picture), picture.shape[1]
    step, pad = 2 * size, size // 2
    head = 0 if truth is None else step
    panel = np.full((head + step * len(names) + pad, width, 3), BACKGROUND, np.uint8)
    if truth is not None:
        ink = RIGHT if truth == names[0] else WRONG
        cv2.circle(panel, (pad + size // 2, head // 2 + pad // 2), size // 3, ink, -1, cv2.LINE_AA)
        write(panel, f'truth: {truth}', 2 * pad + size, head // 2 + pad // 2, size, INK, bold=True)
    for i, (name, score) in enumerate(zip(names, scores, strict=True)):
        top = head + pad + i * step
        colour = NEUTRAL
        if truth is not None and (name == truth or i == 0):
            colour = RIGHT if name == truth else WRONG
        row = panel[top : top + step - pad, pad : width - pad]
        row[:] = TRACK
        row[:, : round(score * row.shape[1])] = colour
        figure = f'{100 * score:.1f} %'
        end = row.shape[1] - text_width(figure, size) - pad
        write(row, _cut(name, end - 2 * pad, size), pad, row.shape[0] // 2, size, INK)
        write(row, figure, end, row.shape[0] // 2, size, INK)
    return np.vstack([picture, panel])


def _cut(text: str, width: int, size: int) -> str:
    """The text, or its beginning if it is wider."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f'{text}…', size) > width:
        text = text[:-1]
    return f'{text}…'

"""Text in pictures, in the typeface that comes with matplotlib: any alphabet of Europe and more."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ['label', 'text_height', 'text_width', 'write', 'write_outlined']

Colour = tuple[int, int, int]


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    path = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / name
    # Pillow takes paths since 10.1.
    return ImageFont.truetype(str(path), size)


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Pixels that a text takes from left to right."""
    return round(_font(size, bold).getlength(text))


def text_height(size: int) -> int:
    """Pixels from the top of the highest letter to the foot of the lowest one."""
    ascent, descent = _font(size, False).getmetrics()
    return ascent + descent


def write(
    picture: np.ndarray, text: str, x: int, y: int, size: int, ink: Colour, bold: bool = False
) -> None:
    """Writes into a picture.

    Args:
        picture: uint8 (H, W, 3); it is changed.
        text: A line.
        x: Left end.
        y: Middle of the line.
        size: Of the letters, in pixels.
        ink: Colour of the letters.
        bold: Whether the letters are thick.
    """
    _draw(picture, text, x, y, _font(size, bold), ink, stroke=0)


def write_outlined(picture: np.ndarray, text: str, x: int, y: int, size: int) -> None:
    """Writes in white with a dark edge around (x, y), which can be read on any ground."""
    font = _font(size, True)
    left = x - round(font.getlength(text) / 2)
    _draw(picture, text, left, y, font, (255, 255, 255), stroke=max(1, size // 7))


def label(
    picture: np.ndarray, text: str, x: int, bottom: int, size: int, ground: Colour, ink: Colour
) -> None:
    """Writes on a filled box that stands on (x, bottom), moved so far that it is inside."""
    pad = max(2, size // 4)
    width, height = text_width(text, size) + 2 * pad, text_height(size)
    x = max(0, min(x, picture.shape[1] - width))
    top = max(0, min(bottom - height, picture.shape[0] - height))
    picture[top : top + height, x : x + width] = ground
    write(picture, text, x + pad, top + height // 2, size, ink)


def _draw(
    picture: np.ndarray,
    text: str,
    x: int,
    y: int,
    font: ImageFont.FreeTypeFont,
    ink: Colour,
    stroke: int,
) -> None:
    left, top, right, bottom = font.getbbox(text, anchor='lm', stroke_width=stroke)
    # Only the part under the letters is copied: pictures are large and have many texts.
    x0, y0 = max(0, x + int(left) - 1), max(0, y + int(top) - 1)
    part = picture[y0 : max(0, y + int(bottom) + 2), x0 : max(0, x + int(right) + 2)]
    if not part.size:
        return
    canvas = Image.fromarray(part)
    ImageDraw.Draw(canvas).text(
        (x - x0, y - y0),
        text,
        ink,
        font,
        anchor='lm',
        stroke_width=stroke,
        stroke_fill=(20, 20, 20),
    )
    part[:] = np.asarray(canvas)

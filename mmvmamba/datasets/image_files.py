"""Encoded images as bytes: whether they can be read, and how an over-large one is made smaller."""

import io
import os
import struct
import warnings
import zlib
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

__all__ = [
    'DECODE_ERRORS',
    'IMAGE_EXTENSIONS',
    'find_defect',
    'is_image_name',
    'open_header',
    'oriented_size',
    'shrink',
    'size_problem',
]

IMAGE_EXTENSIONS = (
    '.avif', '.bmp', '.gif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm', '.png',
    '.pnm', '.ppm', '.tif', '.tiff', '.webp',
)  # fmt: skip

MAX_PIXELS_VARIABLE = 'MMVMAMBA_MAX_IMAGE_PIXELS'
# Where Pillow, too, stops by default: half a gigabyte in three colours.
MAX_PIXELS = 178_956_970
# Pipelines bring the short side to about this many pixels; a line of pixels grows with it.
SHORT_SIDE = 256
# JPEG quality of re-encoded images, that of OpenCV's and Pillow's "high quality" advice.
QUALITY = 95
# The entry of an EXIF block that says how to turn the image, and the values that swap its sides.
ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
# Start of frame: baseline, extended and progressive Huffman coding.
FRAMES = (0xC0, 0xC1, 0xC2)
# Huffman and quantisation tables, restart interval, application data and comments.
SEGMENTS = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
# What Pillow raises for bytes it cannot make an image of: each of its plugins has ways of its own.
DECODE_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Only what is refused here makes Pillow warn, see `open_header`.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


class ImageSizeError(ValueError):
    """An image declares more pixels than are decoded."""


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image, in upper or lower case."""
    return PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS


def max_pixels() -> int:
    """How many pixels an image may have; the variable is for those who mean to read larger ones.

    Raises:
        ValueError: The variable holds something else than a number.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f'{MAX_PIXELS_VARIABLE} must be a whole number above 0, got {text!r}')
    return int(text)


def size_problem(width: int, height: int) -> str:
    """Why an image of this size is not decoded; '' if it may be.

    A file of a kilobyte can declare gigabytes of pixels. One of few pixels that is far longer than
    wide fills the memory when its short side is enlarged.
    """
    short, long = sorted((width, height))
    enlarged = max(short, SHORT_SIDE) ** 2 * long // max(short, 1)
    if enlarged <= max_pixels():
        return ''
    many = 'too many' if short >= SHORT_SIDE else f'too many with a short side of {SHORT_SIDE}'
    return (
        f'it declares {width} x {height} pixels, {many}: the limit is {max_pixels()}, '
        f'set {MAX_PIXELS_VARIABLE} to allow more'
    )


def open_header(data: bytes | memoryview) -> Image.Image:
    """Opens an image without decoding it, under the limit of `max_pixels` instead of Pillow's.

    Raises:
        ImageSizeError: It is too large.
        OSError: Pillow does not know its format; or another of ``DECODE_ERRORS``.
    """
    # Pillow warns from here on, and raises at twice as many.
    Image.MAX_IMAGE_PIXELS = max_pixels()
    try:
        image = Image.open(io.BytesIO(data))
        problem = size_problem(*image.size)
    except UnidentifiedImageError:
        # Pillow's own words have the address of an object: no two builds would say the same.
        raise UnidentifiedImageError('no image format that Pillow knows') from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        problem = f'{error} Set {MAX_PIXELS_VARIABLE} to allow more'
    if problem:
        raise ImageSizeError(problem)
    return image


def oriented_size(data: bytes | memoryview) -> tuple[int, int]:
    """Width and height as the pipelines see them, turned the way the EXIF block says.

    Raises:
        Exception: One of ``DECODE_ERRORS``, for what is no image.
    """
    with open_header(data) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TURNED
    return (height, width) if turned else (width, height)


def find_defect(data: bytes | memoryview, decode: bool = False) -> str:
    """Why Pillow, hence torchvision, could not read the image; '' if it can.

    Args:
        data: The bytes of the file.
        decode: Whether to decode the pixels in any case. Without it, a JPEG or PNG whose header is
            sound and whose last bytes mark the end of an image counts as readable: that takes
            microseconds. What is in any doubt is decoded, unless it is too large.
    """
    if not data:
        return 'the file is empty'
    try:
        with open_header(data) as image:
            if decode or not (_is_whole_jpeg(data) or _is_whole_png(data)):
                image.load()
    except (ImageSizeError, UnidentifiedImageError) as error:
        return str(error)
    except DECODE_ERRORS as error:
        return f'{type(error).__name__}: {error}'
    return ''


def shrink(data: bytes | memoryview, max_size: int) -> bytes | None:
    """The image with its short edge brought down to ``max_size``, in its own file format.

    The EXIF block and the colour profile go along, so that the smaller image is turned and
    coloured like the original.

    Args:
        data: The bytes of the file.
        max_size: Longest allowed short edge in pixels.

    Returns:
        The new bytes, or None if the image is small enough as it is.
    """
    with Image.open(io.BytesIO(data)) as image:
        if min(image.size) <= max_size:
            return None
        scale = max_size / min(image.size)
        width, height = (max(1, round(edge * scale)) for edge in image.size)
        info, image_format = image.info, image.format
        # A palette cannot be interpolated.
        rich = 'RGBA' if 'transparency' in info else 'RGB'
        whole = image.convert(rich) if image.mode == 'P' else image
        smaller = whole.resize((width, height), Image.Resampling.LANCZOS)
    if image_format == 'GIF':
        image_format = 'PNG'
    options = {name: info[name] for name in ('exif', 'icc_profile') if info.get(name)}
    if image_format in ('JPEG', 'WEBP'):
        options['quality'] = QUALITY
    out = io.BytesIO()
    smaller.save(out, image_format, **options)
    return out.getvalue()


def _is_whole_jpeg(data: bytes | memoryview) -> bool:
    """Whether marker follows marker up to a frame of some size, and an end marker is at the end."""
    if data[:2] != b'\xff\xd8' or b'\xff\xd9' not in bytes(data[-16:]):
        return False
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], 'big')
        if marker in FRAMES:
            return any(data[at + 5 : at + 7]) and any(data[at + 7 : at + 9])
        if marker not in SEGMENTS:
            return False
        at += 2 + length
    return False


def _is_whole_png(data: bytes | memoryview) -> bool:
    is_png = data[:4] == b'\x89PNG' and data[12:16] == b'IHDR'
    return is_png and b'IEND' in bytes(data[-16:])

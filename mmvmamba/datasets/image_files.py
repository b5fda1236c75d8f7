"""Encoded images as bytes: whether they can be read, and how an over-large one is made smaller."""

import io
import struct
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

__all__ = ['IMAGE_EXTENSIONS', 'find_defect', 'is_image_name', 'shrink']

IMAGE_EXTENSIONS = (
    '.avif', '.bmp', '.gif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm', '.png',
    '.pnm', '.ppm', '.tif', '.tiff', '.webp',
)  # fmt: skip

# JPEG quality of re-encoded images, that of OpenCV's and Pillow's "high quality" advice.
QUALITY = 95
# Start of frame: baseline, extended and progressive Huffman coding.
FRAMES = (0xC0, 0xC1, 0xC2)
# Huffman and quantisation tables, restart interval, application data and comments.
SEGMENTS = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
# What Pillow raises for bytes it cannot make an image of.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image, in upper or lower case."""
    return PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS


def find_defect(data: bytes | memoryview, decode: bool = False) -> str:
    """Why Pillow, hence torchvision, could not read the image; '' if it can.

    Args:
        data: The bytes of the file.
        decode: Whether to decode the pixels in any case. Without it, a JPEG or PNG whose header is
            sound and whose last bytes mark the end of an image counts as readable: that takes
            microseconds. What is in any doubt is decoded.
    """
    if not data:
        return 'the file is empty'
    if not decode and (_is_whole_jpeg(data) or _is_whole_png(data)):
        return ''
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError:
        # Pillow's own words have the address of an object: no two builds would say the same.
        return 'no image format that Pillow knows'
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
        size = tuple(max(1, round(edge * scale)) for edge in image.size)
        info, image_format = image.info, image.format
        if image.mode == 'P':
            # A palette cannot be interpolated.
            image = image.convert('RGBA' if 'transparency' in info else 'RGB')
        smaller = image.resize(size, Image.Resampling.LANCZOS)
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

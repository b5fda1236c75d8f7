"""Images for the tests of databases."""

import io

import numpy as np
from PIL import Image


def encode(array, file_format='JPEG', **options):
    """The bytes of an image file."""
    out = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(out, file_format, **options)
    return out.getvalue()


def random_image(seed, shape=(24, 32, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

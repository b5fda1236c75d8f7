"""How a model wants its images: one description, as a torchvision transform and as a config."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from mmvmamba.datasets.image_files import DECODE_ERRORS, open_header

__all__ = ['Preprocessing', 'open_image']

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Decodes as Pillow does, and does not turn the image by its EXIF entry.
LOAD_IMAGE = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
# Grey, palette, print and screen images have a meaning in RGB; 16-bit and float ones have none
# without knowing their range.
CONVERTIBLE_MODES = ('RGB', 'L', '1', 'LA', 'P', 'PA', 'RGBA', 'RGBX', 'CMYK', 'YCbCr', 'HSV')


@dataclass(frozen=True)
class Preprocessing:
    """The test-time preparation of images: bicubic resize, central crop, normalisation.

    Args:
        img_size: Side of the square that is cut out.
        crop_pct: This side by the one the image is resized to, which is rounded down.
        crop_mode: 'center' resizes the shorter side and keeps the aspect ratio, 'squash' resizes
            both sides to the same length.
    """

    img_size: int = 224
    crop_pct: float = 1.0
    crop_mode: str = 'center'

    def __post_init__(self) -> None:
        if self.crop_mode not in ('center', 'squash'):
            raise ValueError(f"crop_mode must be 'center' or 'squash', got {self.crop_mode!r}")

    @classmethod
    def from_pipeline(cls, pipeline: Sequence[dict]) -> 'Preprocessing':
        """Reads the preparation from a test pipeline like those of ``pipeline``."""
        steps = {step['type']: step for step in pipeline}
        img_size = steps['CenterCrop']['crop_size']
        if 'Resize' in steps:
            return cls(img_size, _crop_pct(img_size, steps['Resize']['scale'][0]), 'squash')
        return cls(img_size, _crop_pct(img_size, steps['ResizeEdge']['scale']), 'center')

    @property
    def resize_size(self) -> int:
        return math.floor(self.img_size / self.crop_pct)

    def __call__(self, image: Image.Image) -> Tensor:
        """Turns an RGB image into a normalised tensor, ``(3, img_size, img_size)``."""
        size = self.resize_size
        image = F.resize(
            image,
            [size, size] if self.crop_mode == 'squash' else [size],
            interpolation=InterpolationMode.BICUBIC,
        )
        image = F.center_crop(image, [self.img_size, self.img_size])
        return F.normalize(F.to_tensor(image), MEAN, STD)

    def pipeline(self) -> list[dict]:
        """The same as a test pipeline of mmpretrain, whose model normalises."""
        backend = dict(backend='pillow', interpolation='bicubic')
        size = self.resize_size
        resize: dict = (
            dict(type='Resize', scale=(size, size), **backend)
            if self.crop_mode == 'squash'
            else dict(type='ResizeEdge', scale=size, edge='short', **backend)
        )
        return [
            dict(LOAD_IMAGE),
            resize,
            dict(type='CenterCrop', crop_size=self.img_size),
            dict(type='PackInputs'),
        ]


def open_image(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    """Opens an image as RGB.

    Args:
        image: A file, a PIL image, or an array of bytes: ``(H, W)`` or ``(H, W, 1)`` grey,
            ``(H, W, 3)`` RGB, ``(H, W, 4)`` RGB and opacity, which is left out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no image, or one whose values have no known meaning.
    """
    if isinstance(image, torch.Tensor):
        raise ValueError(
            'an image must be a file, a PIL image or an array, got a tensor; a normalised batch '
            'goes to the model itself: model(batch)'
        )
    name = str(image) if isinstance(image, str | Path) else 'the image'
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    elif isinstance(image, str | Path):
        try:
            image = open_header(Path(image).read_bytes())
            image.load()
        except FileNotFoundError:
            raise FileNotFoundError(f'there is no image {name}') from None
        except DECODE_ERRORS as error:
            raise ValueError(f'{name} cannot be read as an image: {error}') from error
    elif not isinstance(image, Image.Image):
        raise ValueError(
            f'an image must be a file, a PIL image or an array, got {type(image).__name__}'
        )
    if image.mode not in CONVERTIBLE_MODES:
        raise ValueError(
            f'{name} has the mode {image.mode!r}, of which the range of values is not known; '
            f'modes that are converted to RGB are {", ".join(CONVERTIBLE_MODES)}'
        )
    return image.convert('RGB')


def _from_array(array: np.ndarray) -> Image.Image:
    channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(
            'an array must be uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got '
            f'{array.dtype} of shape {array.shape}'
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and channels == 1 else array)


def _crop_pct(img_size: int, resize_size: int) -> float:
    """The shortest decimal fraction that leads from one to the other, which is rounded down."""
    ratio = img_size / resize_size
    fractions = (round(ratio, digits) for digits in range(1, 17))
    fitting = (f for f in fractions if f > 0 and math.floor(img_size / f) == resize_size)
    # A quotient that is rounded below a whole number leads to the one before.
    return next(fitting, math.nextafter(ratio, 0))

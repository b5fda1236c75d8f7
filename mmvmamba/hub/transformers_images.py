"""The image processor of our models for transformers: the pixels of ``mmvmamba.classify``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, BatchFeature

from mmvmamba.apis import Preprocessing
from mmvmamba.apis.descriptions import CONFIG_NAME, preprocessing_entries, read_config_json
from mmvmamba.apis.hub_folders import find_folder
from mmvmamba.apis.preprocess import open_image

from .transformers_models import preprocessing_of

__all__ = ['VisionMambaImageProcessor']

ImageLike = str | Path | Image.Image | np.ndarray
_HUB_OPTIONS = ('revision', 'token', 'cache_dir', 'local_files_only', 'force_download')


class VisionMambaImageProcessor(BaseImageProcessor):
    """Prepares images as the model's authors prepared them for testing.

    Args:
        image_size: Side of the square that is cut out.
        crop_pct: See ``mmvmamba.apis.Preprocessing``.
        crop_mode: See there.
        **kwargs: Other entries of ``preprocessor_config.json``.
    """

    model_input_names = ('pixel_values',)

    def __init__(
        self, image_size: int = 224, crop_pct: float = 1.0, crop_mode: str = 'center', **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.preprocessing = Preprocessing(image_size, crop_pct, crop_mode)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> 'VisionMambaImageProcessor':
        """Reads the preparation from ``config.json``, which official folders have too.

        Args:
            pretrained_model_name_or_path: A folder, ``owner/name`` or ``hf://owner/name``.
            **kwargs: As in transformers.
        """
        options = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        folder, _ = find_folder(pretrained_model_name_or_path, hub_options=options)
        preprocessing = preprocessing_of(read_config_json(folder / CONFIG_NAME))
        return cls(preprocessing.img_size, preprocessing.crop_pct, preprocessing.crop_mode)

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], return_tensors: str | None = 'pt', **_: Any
    ) -> BatchFeature:
        """Prepares an image or a list of images.

        Args:
            images: Files, PIL images, or RGB arrays of bytes.
            return_tensors: 'pt' or None; there is nothing else.

        Returns:
            ``pixel_values``, ``(N, 3, H, W)``.
        """
        if return_tensors not in ('pt', None):
            raise ValueError(f"return_tensors must be 'pt' or None, got {return_tensors!r}")
        several = images if isinstance(images, list | tuple) else [images]
        pixels = torch.stack([self.preprocessing(open_image(image)) for image in several])
        return BatchFeature(dict(pixel_values=pixels))

    def to_dict(self) -> dict[str, Any]:
        """The entries of ``preprocessor_config.json``."""
        return dict(
            preprocessing_entries(self.preprocessing), image_processor_type=type(self).__name__
        )

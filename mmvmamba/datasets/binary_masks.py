"""Masks of a foreground: 0 is the background, 255 the foreground."""

from collections.abc import Sequence
from typing import ClassVar

from mmseg.datasets import BaseSegDataset

from mmvmamba.registry import DATASETS

__all__ = ['FOREGROUND', 'BinaryMaskDataset']

FOREGROUND = 255


@DATASETS.register_module()
class BinaryMaskDataset(BaseSegDataset):
    """Images and masks of two values, 0 and 255, as drawing programs write them.

    Elsewhere 255 means that a pixel is not counted; here it is the second class.
    """

    METAINFO: ClassVar[dict] = dict(
        classes=('background', 'foreground'), palette=[[140, 140, 140], [255, 90, 0]]
    )

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """What loading makes of the values of a mask; the names of the classes do not matter."""
        return {FOREGROUND: 1}

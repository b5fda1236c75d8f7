"""Imports the registered dataset classes, at the first look-up: mmpretrain is slow to import."""

from importlib.util import find_spec

__all__ = []

if find_spec('mmpretrain') is not None:
    from .imagenet_lmdb import ImageNetLMDB

    __all__ += ['ImageNetLMDB']

if find_spec('mmdet') is not None:
    from .coco import CocoDataset

    __all__ += ['CocoDataset']

if find_spec('mmseg') is not None:
    from .binary_masks import BinaryMaskDataset

    __all__ += ['BinaryMaskDataset']

"""Small generated data sets: coloured shapes in COCO's, ADE20K's and ImageNet's layout."""

from .annotations import mask_to_polygons, mask_to_rle
from .make import TOY_DATASETS, make_toy_data
from .scenes import SceneObject, draw_scene, random_size
from .shapes import SHAPES, paint_texture, shape_mask
from .writers import (
    CLS_CLASSES,
    DET_CATEGORIES,
    SEG_CLASSES,
    write_ade20k,
    write_coco,
    write_imagenet,
)

__all__ = [
    'CLS_CLASSES',
    'DET_CATEGORIES',
    'SEG_CLASSES',
    'SHAPES',
    'TOY_DATASETS',
    'SceneObject',
    'draw_scene',
    'make_toy_data',
    'mask_to_polygons',
    'mask_to_rle',
    'paint_texture',
    'random_size',
    'shape_mask',
    'write_ade20k',
    'write_coco',
    'write_imagenet',
]

"""Loading of images and masks that names the file which cannot be loaded.

Pipelines keep their plain ``LoadImageFromFile`` and ``LoadAnnotations``, so that every config and
every inferencer of the OpenMMLab projects understands them; `check_loading` puts the steps below in
their places once a data set is built.
"""

from typing import Protocol

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.fileio import get

from .checks.faults import record_size_problem
from .errors import DataError, ImageError, LabelMismatchError
from .image_files import find_defect
from .label_maps import depth_problem, shape_problem

__all__ = ['CheckedImage', 'CheckedMask', 'check_loading']

REMEDY = '`mmvmamba data check CONFIG` lists all such files.'
SIGNATURES = (b'\xff\xd8', b'\x89PNG')


def check_loading(dataset: object) -> None:
    """Replaces the loading steps in the pipelines of a data set and of those that it wraps.

    Args:
        dataset: One of the OpenMMLab projects; of others, nothing is replaced.
    """
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            check_loading(inner)
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(pipeline, Compose):
        _check_steps(pipeline)


def _check_steps(pipeline: Compose) -> None:
    for place, step in enumerate(pipeline.transforms):
        # Test-time augmentation.
        for inner in getattr(step, 'subroutines', ()):
            if isinstance(inner, Compose):
                _check_steps(inner)
        if type(step) is LoadImageFromFile and step.file_client_args is None:
            pipeline.transforms[place] = CheckedImage(step)
        elif _is_mask_loading(step):
            pipeline.transforms[place] = CheckedMask(step)


def _is_mask_loading(step: object) -> bool:
    """Compared by name: mmseg need not be installed."""
    kind = type(step)
    return kind.__module__.startswith('mmseg.') and kind.__name__ == 'LoadAnnotations'


class CheckedImage(LoadImageFromFile):
    """Loads as mmcv does, from a file whose size and end were looked at first.

    Args:
        step: Where the settings come from.
    """

    def __init__(self, step: LoadImageFromFile) -> None:
        self.__dict__.update(step.__dict__)

    def transform(self, results: dict) -> dict | None:
        """Puts 'img', 'img_shape' and 'ori_shape' into the sample.

        Raises:
            ImageError: The file cannot be read, is too large, or is not what its record says.
        """
        path = results['img_path']
        try:
            data = _read(path, 'image', self.backend_args)
            # Other formats would be decoded twice.
            defect = find_defect(data) if bytes(data[:4]).startswith(SIGNATURES) else ''
            if defect:
                raise _unreadable('image', defect, path)
            image = self._decode(data, path)
        except ImageError:
            if self.ignore_empty:
                return None
            raise
        height, width = image.shape[:2]
        if 'width' in results and 'height' in results:
            declared = results['width'], results['height']
            problem = record_size_problem((width, height), declared)
            if problem:
                raise ImageError(problem, path=path, remedy=REMEDY)
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = (height, width)
        return results

    def _decode(self, data: bytes, path: str) -> np.ndarray:
        try:
            image = mmcv.imfrombytes(data, flag=self.color_type, backend=self.imdecode_backend)
        # Whatever it is, it comes from these bytes: each decoder has errors of its own.
        except Exception as error:
            raise _unreadable('image', find_defect(data, decode=True) or error, path) from error
        if image is None:
            defect = find_defect(data, decode=True) or 'no image format that OpenCV knows'
            raise _unreadable('image', defect, path)
        return image


class MaskStep(Protocol):
    """What is needed of mmseg's ``LoadAnnotations``."""

    backend_args: dict | None

    def __call__(self, results: dict) -> dict: ...


class CheckedMask:
    """Loads the mask of an image as mmseg does, and compares it with its image.

    Args:
        step: mmseg's ``LoadAnnotations``.
    """

    def __init__(self, step: MaskStep) -> None:
        self.step = step

    def __call__(self, results: dict) -> dict:
        """Puts 'gt_seg_map' into the sample.

        Raises:
            ImageError: The file cannot be read.
            LabelMismatchError: It has not the size of the image, not one channel, or not labels
                of eight bits.
        """
        path = results['seg_map_path']
        data = _read(path, 'mask', self.step.backend_args)
        try:
            problem = depth_problem(data)
            results = results if problem else self.step(results)
        except Exception as error:
            raise _unreadable('mask', find_defect(data, decode=True) or error, path) from error
        problem = problem or shape_problem(results['gt_seg_map'].shape, results.get('ori_shape'))
        if problem:
            raise LabelMismatchError(problem, path=path, remedy=REMEDY)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.step})'


def _read(path: str, kind: str, backend_args: dict | None) -> bytes:
    try:
        return get(path, backend_args=backend_args)
    except DataError:
        raise
    except OSError as error:
        problem = f'the {kind} cannot be opened: {error.strerror or error}'
        raise ImageError(problem, path=path, remedy=REMEDY) from error


def _unreadable(kind: str, reason: str | Exception, path: str) -> ImageError:
    if isinstance(reason, Exception):
        reason = f'{type(reason).__name__}: {reason}'
    return ImageError(f'the {kind} cannot be read: {reason}', path=path, remedy=REMEDY)

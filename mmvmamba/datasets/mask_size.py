"""A transform that notices masks that do not fit their image."""

from mmvmamba.registry import TRANSFORMS

from .errors import LabelMismatchError

__all__ = ['CheckMaskSize']

REMEDY = 'tools/misc/check_dataset.py lists all such files.'


@TRANSFORMS.register_module()
class CheckMaskSize:
    """Refuses a segmentation mask of another size than its image, or of more than one channel.

    Goes behind ``LoadAnnotations``, before anything is resized: afterwards both may have the same
    size and yet show different things.
    """

    def __call__(self, results: dict) -> dict:
        """Checks ``gt_seg_map`` against ``ori_shape``.

        Raises:
            LabelMismatchError: Naming the mask.
        """
        shape, path = results['gt_seg_map'].shape, results['seg_map_path']
        if len(shape) != 2:
            problem = f'the mask must have one channel, got the shape {shape}'
            raise LabelMismatchError(problem, path, '', REMEDY)
        if shape != tuple(results['ori_shape'][:2]):
            size = tuple(results['ori_shape'][:2])
            problem = f'the mask must have the height and width of its image, {size}, got {shape}'
            raise LabelMismatchError(problem, path, '', REMEDY)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'

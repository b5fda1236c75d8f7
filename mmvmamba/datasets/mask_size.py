"""A transform that notices masks that do not fit their image."""

from mmvmamba.registry import TRANSFORMS

__all__ = ['CheckMaskSize']


@TRANSFORMS.register_module()
class CheckMaskSize:
    """Refuses a segmentation mask of another size than its image, or of more than one channel.

    Goes behind ``LoadAnnotations``, before anything is resized: afterwards both may have the same
    size and yet show different things.
    """

    def __call__(self, results: dict) -> dict:
        """Checks ``gt_seg_map`` against ``ori_shape``.

        Raises:
            ValueError: Naming the mask.
        """
        shape, path = results['gt_seg_map'].shape, results['seg_map_path']
        if len(shape) != 2:
            raise ValueError(f'{path}: the mask must have one channel, got the shape {shape}')
        if shape != tuple(results['ori_shape'][:2]):
            raise ValueError(
                f'{path}: the mask must have the height and width of its image, '
                f'{tuple(results["ori_shape"][:2])}, got {shape}'
            )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'

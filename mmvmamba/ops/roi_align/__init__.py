"""RoIAlign on the CPU, on all cores."""

from .numba import can_run, check_images, roi_align_backward, roi_align_forward

__all__ = ['can_run', 'check_images', 'roi_align_backward', 'roi_align_forward']

"""The operators of ``mmcv._ext`` that we provide, with mmcv's own signatures.

The Python side of mmcv allocates the outputs and calls these to fill them, so they write in place
and return nothing unless mmcv expects a result.
"""

from .nms import nms
from .roi_align import roi_align_backward, roi_align_forward

__all__ = ['nms', 'roi_align_backward', 'roi_align_forward']

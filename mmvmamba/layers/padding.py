"""Zeros at the bottom and right of maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvmamba.ops.symbolic import is_symbolic

__all__ = ['pad_to_multiple']


def pad_to_multiple(x: Tensor, rows: int, columns: int, channels_last: bool = False) -> Tensor:
    """Pads a map until its height and width are multiples; one that is large enough is not copied.

    Args:
        x: ``(N, C, H, W)``, or with ``channels_last`` ``(N, H, W, C)``.
        rows: What the height is to be a multiple of.
        columns: What the width is to be a multiple of.
        channels_last: Whether the channels are the last axis.
    """
    height, width = x.shape[1:3] if channels_last else x.shape[2:]
    below, right = -height % rows, -width % columns
    # What is traced has to serve other sizes.
    is_traced = torch.jit.is_tracing() or torch.compiler.is_compiling() or is_symbolic(x)
    if not is_traced and below == right == 0:
        return x
    return F.pad(x, (0, 0, 0, right, 0, below) if channels_last else (0, right, 0, below))

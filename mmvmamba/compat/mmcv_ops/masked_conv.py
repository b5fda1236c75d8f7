"""A convolution at the marked places of a map alone, as guided anchoring predicts with it.

https://arxiv.org/abs/1901.03278. mmcv multiplies the columns with the weights itself, and has no
backward.
"""

from itertools import product

import torch.nn.functional as F
from torch import Tensor

__all__ = ['masked_col2im_forward', 'masked_im2col_forward']


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fills ``col`` with what the kernel sees at each marked place.

    Args:
        im: (1, channels, height, width).
        mask_h_idx: (places,) rows.
        mask_w_idx: (places,) columns.
        col: (channels * kernel_h * kernel_w, places), written.
        kernel_h: Rows of the kernel.
        kernel_w: Its columns.
        pad_h: Rows of zeros above and below.
        pad_w: Columns of zeros left and right.
    """
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    seen = col.view(im.size(1), kernel_h, kernel_w, -1)
    for row, column in product(range(kernel_h), range(kernel_w)):
        seen[:, row, column] = padded[:, mask_h_idx + row, mask_w_idx + column]


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Writes one column to each marked place of ``im``.

    Args:
        col: (channels, places).
        mask_h_idx: (places,) rows.
        mask_w_idx: (places,) columns.
        im: (1, channels, height, width); what is not marked stays.
        height: That of ``im``, as the other two.
        width: Likewise.
        channels: Likewise.
    """
    im.view(channels, height, width)[:, mask_h_idx, mask_w_idx] = col

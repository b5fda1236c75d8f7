"""PSANet's masks: from a window around each pixel to the whole map.

https://hszhao.github.io/papers/eccv18_psanet.pdf
"""

import torch
from torch import Tensor

from .gradients import fill_gradients

__all__ = ['psamask_backward', 'psamask_forward']

_COLLECT, _DISTRIBUTE = range(2)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fills ``output`` with each pixel's weights for all pixels, zero outside of its window.

    Args:
        input: (batch, h_mask * w_mask, height, width) weights of the window around each pixel.
        output: (batch, height * width, height, width), written: first the pixel that is looked
            at and then the one that looks, or the other way round.
        psa_type: 0 where pixels collect, 1 where they distribute.
        num_: The batch's size, in the shapes already, as the next two.
        h_feature: Rows of a map.
        w_feature: Columns of a map.
        h_mask: Rows of a window.
        w_mask: Columns of a window.
        half_h_mask: Row of the window that its pixel lies in.
        half_w_mask: Column of the window that its pixel lies in.
    """
    window = h_mask, w_mask, half_h_mask, half_w_mask
    output.copy_(_spread(input, psa_type, *window))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fills ``grad_input``; the other arguments are those of the forward."""
    window = h_mask, w_mask, half_h_mask, half_w_mask
    # It is linear: the gradient does not depend on the input, which mmcv does not pass.
    fill_gradients(
        lambda x: _spread(x, psa_type, *window),
        [torch.zeros_like(grad_input)],
        grad_output,
        [grad_input],
    )


def _spread(
    masks: Tensor, psa_type: int, h_mask: int, w_mask: int, half_h: int, half_w: int
) -> Tensor:
    if psa_type not in (_COLLECT, _DISTRIBUTE):
        raise ValueError(f'psa_type must be 0 (collect) or 1 (distribute), got {psa_type}')
    batch, _, height, width = masks.shape
    rows, columns = (torch.arange(size, device=masks.device) for size in (height, width))
    # Where in the window of a pixel (second) another one (first) lies.
    row = rows[:, None] - rows + half_h
    column = columns[:, None] - columns + half_w
    inside = ((row >= 0) & (row < h_mask))[:, None, :, None]
    inside = inside & ((column >= 0) & (column < w_mask))[None, :, None, :]
    values = masks.view(batch, h_mask, w_mask, height, width)[
        :,
        row.clamp(0, h_mask - 1)[:, None, :, None],
        column.clamp(0, w_mask - 1)[None, :, None, :],
        rows[:, None],
        columns,
    ]
    values = torch.where(inside, values, 0)  # (batch, *looked at, *looking)
    if psa_type == _DISTRIBUTE:
        values = values.permute(0, 3, 4, 1, 2)
    return values.reshape(batch, height * width, height, width)

"""CARAFE: each pixel of an enlarged map is a weighted sum of pixels around its place.

https://arxiv.org/abs/1905.02188. mmcv's scratch buffers, maps with the channels last, stay unused
but for the one that carries the features to the backward.
"""

from itertools import product

import torch.nn.functional as F
from torch import Tensor

from .gradients import fill_gradients

__all__ = ['carafe_backward', 'carafe_forward']


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills ``output`` with ``features``, enlarged by the weights in ``masks``.

    Args:
        features: (batch, channels, height, width).
        masks: (batch, groups * kernel_size ** 2, height * scale_factor, width * scale_factor).
        rfeatures: As ``features``, written: mmcv hands it to the backward in their place.
        routput: Scratch, unused.
        rmasks: Scratch, unused.
        output: (batch, channels, height * scale_factor, width * scale_factor), written.
        kernel_size: Edge of the window that is summed up, an odd number.
        group_size: Groups of channels that share weights.
        scale_factor: How many times larger the output is.
    """
    rfeatures.copy_(features)
    output.copy_(_reassemble(features, masks, kernel_size, group_size, scale_factor))


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills ``grad_input`` and ``grad_masks``; the other arguments are those of the forward."""
    fill_gradients(
        lambda features, masks: _reassemble(features, masks, kernel_size, group_size, scale_factor),
        (rfeatures, masks),
        grad_output,
        (grad_input, grad_masks),
    )


def _reassemble(features: Tensor, masks: Tensor, size: int, groups: int, scale: int) -> Tensor:
    batch, channels, height, width = features.shape
    padded = F.pad(features, [size // 2] * 4).unflatten(1, (groups, -1))
    weights = masks.view(batch, groups, 1, size * size, height, scale, width, scale)
    output = features.new_zeros(())
    for place, (row, column) in enumerate(product(range(size), repeat=2)):
        seen = padded[..., row : row + height, None, column : column + width, None]
        output = output + seen * weights[:, :, :, place]
    return output.reshape(batch, channels, height * scale, width * scale)

"""Spatial-Mamba's state fusion: the state of a token takes in those of its neighbours.

``out[r, c] = sum over d, i, j of alpha[d] * kernel_d[i, j] * h[r + d * i, c + d * j]`` for each
channel, with i and j in (-1, 0, 1) and d in ``DILATIONS``; coordinates outside of the map are those
of the nearest token inside.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .symbolic import one_call

__all__ = ['DILATIONS', 'state_fusion', 'state_fusion_ref']

DILATIONS = (1, 3, 5)


@one_call
def state_fusion(h: Tensor, kernels: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """Fuses the states of a map by three dilated depth-wise convolutions.

    The kernels of one forward pass are those of that moment: nothing is kept from another.

    Args:
        h: States, ``(N, C, H, W)``.
        kernels: One for each of ``DILATIONS``, ``(C, 1, 3, 3)``.
        alpha: Their weights, ``(3,)``.

    Returns:
        As ``h``.
    """
    reach = max(DILATIONS)
    height, width = h.shape[-2:]
    padded = F.pad(h, (reach,) * 4, mode='replicate')
    out = torch.zeros_like(h)
    for weight, kernel, dilation in zip(alpha, kernels, DILATIONS, strict=True):
        edge = reach - dilation
        part = padded[..., edge : reach + height + dilation, edge : reach + width + dilation]
        taps = (weight * kernel).to(h.dtype)
        out = out + F.conv2d(part, taps, dilation=dilation, groups=h.shape[1])
    return out


def state_fusion_ref(h: Tensor, kernels: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """The definition, tap by tap; arguments as those of ``state_fusion``."""
    rows, columns = (torch.arange(side, device=h.device) for side in h.shape[-2:])
    out = torch.zeros_like(h)
    for weight, kernel, dilation in zip(alpha, kernels, DILATIONS, strict=True):
        for i in range(3):
            for j in range(3):
                row = (rows + dilation * (i - 1)).clamp(0, len(rows) - 1)
                column = (columns + dilation * (j - 1)).clamp(0, len(columns) - 1)
                tap = weight * kernel[:, 0, i, j, None, None]
                out = out + tap * h[:, :, row][:, :, :, column]
    return out

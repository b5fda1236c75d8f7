"""mmsegmentation's encoder-decoder with sliding windows that go through the network together.

This module imports mmseg; segmentation configs name it in ``custom_imports``.
"""

from collections.abc import Iterator
from itertools import product

import torch
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from torch import Tensor

from mmvmamba.registry import MODELS

__all__ = ['EncoderDecoder', 'window_corners']


def window_corners(
    size: tuple[int, int], crop_size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Top left corners of windows that cover an image; the last ones end at its edges."""
    starts = []
    for side, crop, step in zip(size, crop_size, stride, strict=True):
        count = max(side - crop + step - 1, 0) // step + 1
        starts.append([max(min(i * step, side - crop), 0) for i in range(count)])
    rows, columns = starts
    return product(rows, columns)


@MODELS.register_module()
class EncoderDecoder(MMSegEncoderDecoder):
    """As mmseg's, but in slide mode ``test_cfg['window_batch']`` (4) windows run at a time."""

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        size = (inputs.shape[-2], inputs.shape[-1])
        crop_size = tuple(min(pair) for pair in zip(self.test_cfg.crop_size, size, strict=True))
        height, width = crop_size
        corners = list(window_corners(size, self.test_cfg.crop_size, self.test_cfg.stride))
        step = self.test_cfg.get('window_batch', 4)
        # A torch.Size goes before the pad_shape of the whole image.
        metas = [{**batch_img_metas[0], 'img_shape': torch.Size(crop_size)}]
        if len(corners) == 1:
            return self.encode_decode(inputs, metas)
        logits = inputs.new_zeros(len(inputs), self.out_channels, *size)
        counts = inputs.new_zeros(1, 1, *size)
        for group in (corners[i : i + step] for i in range(0, len(corners), step)):
            windows = [inputs[..., y : y + height, x : x + width] for y, x in group]
            outputs = self.encode_decode(torch.cat(windows), metas).split(len(inputs))
            for (y, x), output in zip(group, outputs, strict=True):
                logits[..., y : y + height, x : x + width] += output
                counts[..., y : y + height, x : x + width] += 1
        return logits.div_(counts)

"""Masked convolution of mmcv, as mmcv calls the stand-in, against a convolution of everything."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import MaskedConv2d

pytestmark = pytest.mark.usefixtures('stand_ins')


@pytest.mark.parametrize('kernel,padding', [(1, 0), (3, 1), ((3, 5), (1, 2))], ids=str)
def test_marked_places_have_the_values_of_the_convolution(kernel, padding):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 6, 7, generator=generator)
    mask = torch.rand(1, 6, 7, generator=generator) > 0.6
    layer = MaskedConv2d(3, 4, kernel, padding=padding)
    full = F.conv2d(x, layer.weight, layer.bias, padding=padding)
    torch.testing.assert_close(layer(x, mask), full * mask[:, None])
    torch.testing.assert_close(layer(x), full)
    assert 0 < mask.sum() < mask.numel()


def test_nothing_marked():
    layer = MaskedConv2d(3, 4, 3, padding=1)
    assert not layer(torch.ones(1, 3, 6, 7), torch.zeros(1, 6, 7)).any()

"""Zeros at the bottom and right of maps."""

import pytest
import torch

from mmvmamba.layers import pad_to_multiple


@pytest.mark.parametrize('channels_last', [False, True])
def test_zeros_fill_up_both_sides(channels_last):
    x = torch.ones(2, 3, 5, 7)
    padded = pad_to_multiple(x.permute(0, 2, 3, 1) if channels_last else x, 4, 3, channels_last)
    padded = padded.permute(0, 3, 1, 2) if channels_last else padded
    assert padded.shape == (2, 3, 8, 9)
    assert torch.equal(padded[..., :5, :7], x)
    assert padded.sum() == x.sum()


def test_a_map_that_is_large_enough_is_not_copied():
    x = torch.ones(1, 3, 8, 6)
    assert pad_to_multiple(x, 4, 3) is x
    assert pad_to_multiple(x, 3, 2, channels_last=True) is x


# torch 2.15 says so, and models are still traced.
@pytest.mark.filterwarnings('ignore:`torch.jit.:FutureWarning')
def test_a_traced_map_serves_other_sizes():
    traced = torch.jit.trace(lambda x: pad_to_multiple(x, 4, 4), torch.ones(1, 1, 4, 4))
    assert traced(torch.ones(1, 1, 5, 6)).shape == (1, 1, 8, 8)

"""The rotation of tokens by the places of their patches."""

import math

import pytest
import torch

from mmvmamba.layers import rotate_pairs
from mmvmamba.models.backbones.vim_rope import GridRotation
from mmvmamba.testing import assert_close, make_input


@pytest.mark.parametrize('grid', [(2, 3), (4, 4)], ids=str)
def test_angles_are_those_of_the_row_and_the_column(grid):
    rotation = GridRotation(8, grid)
    height, width = grid
    for row in range(height):
        for column in range(width):
            # Two frequencies for each half of the channels, positions as on a side of 14 patches.
            angles = [
                14 * place / side * frequency
                for place, side in ((row, height), (column, width))
                for frequency in (1, 10000**-0.5)
                for _ in range(2)
            ]
            token = row * width + column
            for table, function in (
                (rotation.freqs_cos, math.cos),
                (rotation.freqs_sin, math.sin),
            ):
                want = torch.tensor([function(angle) for angle in angles])
                assert_close(table[token], want, 'table', tolerance=1e-5)


def test_pairs_are_turned_as_complex_numbers():
    rotation = GridRotation(8, (2, 3)).double()
    cos, sin = rotation((2, 3))
    x = make_input((2, 6, 8))
    turned = torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.complex(cos, sin)[:, ::2]
    assert_close(rotate_pairs(x, cos, sin), torch.view_as_real(turned).flatten(-2), 'tokens')


def test_skipped_tokens_are_not_turned():
    rotation = GridRotation(8, (2, 3)).double()
    x = make_input((2, 7, 8))
    turned = rotate_pairs(x, *rotation((2, 3), num_skipped=1))
    assert torch.equal(turned[:, 0], x[:, 0])
    assert_close(turned[:, 1:], rotate_pairs(x[:, 1:], *rotation((2, 3))), 'patches')


@pytest.mark.parametrize('grid', [(3, 5), (2, 8)], ids=str)
def test_tables_of_another_grid_are_computed(grid):
    rotation, own = GridRotation(8, (4, 4)), GridRotation(8, grid)
    for got, want in zip(rotation(grid), (own.freqs_cos, own.freqs_sin), strict=True):
        assert torch.equal(got, want)


def test_width_that_makes_no_pairs_is_named():
    with pytest.raises(ValueError, match='multiple of 4 for rope, got 6'):
        GridRotation(6, (2, 2))

"""The orders in which a 2-D grid of tokens is scanned, each beside its direction codes.

An order is a table ``order[t]`` of the raster index (row * width + column) visited at step t.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ['move_codes', 'reversed_order', 'snake_orders']

# Codes of the move that led to a token, the rows of PlainMamba's table of directions.
START, RIGHT, LEFT, UP, DOWN = range(5)


@lru_cache(maxsize=256)
def snake_orders(height: int, width: int) -> tuple[Tensor, Tensor]:
    """PlainMamba's four continuous scans: a row snake, its reverse, a column snake, its reverse.

    Returns:
        The orders and the codes of the moves that led from token to token, both ``(4, height *
        width)``. They are shared by all callers: never write to them.
    """
    rows, columns = _row_snake(height, width), _transposed(_row_snake(width, height), height, width)
    orders = np.stack([rows, rows[::-1], columns, columns[::-1]])
    codes = np.stack([move_codes(order, width) for order in orders])
    return torch.from_numpy(orders), torch.from_numpy(codes)


@lru_cache(maxsize=256)
def reversed_order(length: int) -> Tensor:
    """Forward and backward through a sequence, ``(2, length)``; shared, never write to it."""
    forward = torch.arange(length)
    return torch.stack([forward, forward.flip(0)])


def move_codes(order: np.ndarray, width: int) -> np.ndarray:
    """The code of the move that led to each step's token; the first is ``START``."""
    step = np.diff(order)
    codes = np.full(len(order), START)
    # A vertical move is tested first: on a grid one token wide, index steps of 1 are vertical.
    codes[1:] = np.select(
        [step == width, step == -width, step == 1, step == -1], [DOWN, UP, RIGHT, LEFT]
    )
    return codes


def _row_snake(height: int, width: int) -> np.ndarray:
    grid = np.arange(height * width).reshape(height, width)
    grid[1::2] = grid[1::2, ::-1].copy()
    return grid.reshape(-1)


def _transposed(order: np.ndarray, height: int, width: int) -> np.ndarray:
    """Raster indices of a (width, height) grid turned into those of the (height, width) grid."""
    column, row = np.divmod(order, height)
    return row * width + column

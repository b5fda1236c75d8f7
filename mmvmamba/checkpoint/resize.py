"""Resizes the learned position embedding of a file to the grid of the backbone that takes it."""

import math

from mmengine.logging import print_log
from torch import Tensor

from mmvmamba.layers.position_embedding import resize_position_grid

__all__ = ['fit_position_table']


def fit_position_table(
    state: dict[str, Tensor], grid: tuple[int, int], key: str = 'pos_embed'
) -> None:
    """Resizes a table without class tokens in place, if it is there and made for another grid.

    Args:
        state: The backbone's part of a checkpoint.
        grid: Height and width the backbone wants.
        key: Name of the table. One whose grid is not square is left alone: its shape is not known.
    """
    table = state.get(key)
    if table is None or table.ndim != 3 or table.shape[1] == grid[0] * grid[1]:
        return
    side = math.isqrt(table.shape[1])
    if side**2 == table.shape[1]:
        state[key] = resize_position_grid(table, (side, side), tuple(grid))
        print_log(f'{key}: resized from {(side, side)} to {tuple(grid)} positions', 'current')

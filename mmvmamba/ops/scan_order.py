"""The orders in which a 2-D grid of tokens is scanned, each beside its direction codes.

An order is a table ``order[t]`` of the raster index (row * width + column) visited at step t. The
tables are kept and shared by all callers: never write to them. ``device`` is where a table is made
and stays; None for torch's default.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .tables import cached_table

__all__ = ['cross_orders', 'move_codes', 'reversed_order', 'snake_orders']

# Codes of the move that led to a token, the rows of PlainMamba's table of directions.
START, RIGHT, LEFT, UP, DOWN = range(5)


@cached_table(maxsize=256)
def cross_orders(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """VMamba's four scans, ``(4, height * width)``: along rows, along columns, both reversed."""
    rows = torch.arange(height * width, device=device)
    columns = _transposed(rows, height, width)
    return torch.stack([rows, columns, rows.flip(0), columns.flip(0)])


@cached_table(maxsize=256)
def snake_orders(
    height: int, width: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """PlainMamba's four continuous scans: a row snake, its reverse, a column snake, its reverse.

    Returns:
        The orders and the codes of the moves that led from token to token, both
        ``(4, height * width)``.
    """
    rows = _row_snake(height, width, device)
    columns = _transposed(_row_snake(width, height, device), height, width)
    orders = torch.stack([rows, rows.flip(0), columns, columns.flip(0)])
    return orders, move_codes(orders, width)


@cached_table(maxsize=256)
def reversed_order(length: int, device: torch.device | None = None) -> Tensor:
    """Forward and backward through a sequence, ``(2, length)``."""
    forward = torch.arange(length, device=device)
    return torch.stack([forward, forward.flip(0)])


def move_codes(orders: Tensor, width: int) -> Tensor:
    """The code of the move that led to each step's token; the first is ``START``."""
    step = orders[:, 1:] - orders[:, :-1]
    codes = torch.where(step == 1, RIGHT, LEFT)
    # A vertical move comes last: on a grid one token wide, index steps of 1 are vertical.
    codes = torch.where(step == -width, UP, codes)
    codes = torch.where(step == width, DOWN, codes)
    return F.pad(codes, (1, 0), value=START)


def _row_snake(height: int, width: int, device: torch.device | None) -> Tensor:
    grid = torch.arange(height * width, device=device).view(height, width)
    is_odd = torch.arange(height, device=device)[:, None] % 2 == 1
    return torch.where(is_odd, grid.flip(1), grid).reshape(-1)


def _transposed(order: Tensor, height: int, width: int) -> Tensor:
    """Raster indices of a (width, height) grid turned into those of the (height, width) grid."""
    return order % height * width + order // height

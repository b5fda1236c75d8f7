"""Class tokens among the patch tokens, and learned position tables resized to another grid.

Three rules of resizing:

- The plain grid rule, ``resize_position_grid``: every entry is a cell of the grid (PlainMamba, and
  Vim without a class token).
- The token-aware rule, ``resize_position_embedding(..., rule='token_aware')``: the entries of class
  tokens are found where the tokens stand (middle, head, both ends), left as they are and put where
  the tokens stand in the new sequence; all others are the grid.
- Vim's upstream rule, ``resize_position_embedding(..., rule='upstream')``: the *first* entries are
  taken for those of the class tokens wherever the tokens stand. With a token in the middle this
  keeps a patch's entry and blends the token's into the grid, but it is how the official fine-tuned
  and downstream models were started.
"""

import math

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from mmvmamba.ops.symbolic import at_least_float32, one_call

from .tokens import tokens_to_map

__all__ = [
    'CLASS_TOKENS',
    'RESIZE_RULES',
    'class_token_places',
    'fit_position_table',
    'insert_tokens',
    'remove_tokens',
    'resize_position_embedding',
    'resize_position_grid',
]

CLASS_TOKENS = ('middle', 'head', 'double', 'none')
RESIZE_RULES = ('token_aware', 'upstream')


def class_token_places(class_token: str, num_patches: int) -> tuple[int, ...]:
    """Where the class tokens stand in the final sequence of ``num_patches`` patches and the tokens.

    Args:
        class_token: 'middle' (after half of the patches, rounded down), 'head', 'double' (both
            ends) or 'none'.
        num_patches: Number of patches.
    """
    places = {
        'middle': (num_patches // 2,),
        'head': (0,),
        'double': (0, num_patches + 1),
        'none': (),
    }
    if class_token not in places:
        raise ValueError(f'class_token must be one of {list(CLASS_TOKENS)}, got {class_token!r}')
    return places[class_token]


def insert_tokens(x: Tensor, tokens: list[Tensor], places: tuple[int, ...]) -> Tensor:
    """Puts tokens into a sequence so that they end up at the given places.

    Args:
        x: Sequence, ``(N, L, C)``.
        tokens: Each ``(N or 1, 1, C)``.
        places: Their places in the result, ascending.
    """
    for token, place in zip(tokens, places, strict=True):
        # The batch by its shape: len() would fix it while a graph is traced.
        token = token.to(x.dtype).expand(x.shape[0], -1, -1)
        x = torch.cat([x[:, :place], token, x[:, place:]], dim=1)
    return x


def remove_tokens(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """The sequence ``(N, L, C)`` without the tokens at the given places, which are ascending."""
    for place in reversed(places):
        x = torch.cat([x[:, :place], x[:, place + 1 :]], dim=1)
    return x


@one_call
def resize_position_grid(
    table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> Tensor:
    """Resizes a table whose entries are the cells of a grid, row by row.

    The interpolation is bicubic, without antialias or aligned corners.

    Args:
        table: Position embedding, ``(1, h * w, C)`` for the old grid.
        old_grid: Height and width the table was made for.
        new_grid: Height and width wanted.

    Returns:
        The table of the new grid, ``(1, h * w, C)``; the very same tensor if the grids are equal.
    """
    if table.shape[1] != old_grid[0] * old_grid[1]:
        raise ValueError(
            f'a position table for a grid of {tuple(old_grid)} must have '
            f'{old_grid[0] * old_grid[1]} entries of patches, got {table.shape[1]}'
        )
    if tuple(old_grid) == tuple(new_grid):
        return table
    # Half precision would round the weights of the interpolation.
    maps = at_least_float32(tokens_to_map(table, old_grid))
    maps = F.interpolate(maps, size=tuple(new_grid), mode='bicubic', align_corners=False)
    return maps.flatten(2).transpose(1, 2).to(table.dtype)


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
        state[key] = resize_position_grid(table, (side, side), grid)
        print_log(f'{key}: resized from {(side, side)} to {tuple(grid)} positions', 'current')


@one_call
def resize_position_embedding(
    table: Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    class_token: str = 'none',
    rule: str = 'token_aware',
) -> Tensor:
    """Resizes a table indexed by the place in a sequence of patches and class tokens.

    Args:
        table: Position embedding, ``(1, h * w + number of class tokens, C)`` for the old grid.
        old_grid: Height and width the table was made for.
        new_grid: Height and width wanted.
        class_token: Where the class tokens stand, see ``class_token_places``.
        rule: 'token_aware', or 'upstream' for Vim's official rule, see the top of this file. The
            official code knows square grids only; other grids are resized in the same way.

    Returns:
        The table of the new grid; the very same tensor if the grids are equal.
    """
    if rule not in RESIZE_RULES:
        raise ValueError(f'rule must be one of {list(RESIZE_RULES)}, got {rule!r}')
    old_places = class_token_places(class_token, old_grid[0] * old_grid[1])
    new_places = class_token_places(class_token, new_grid[0] * new_grid[1])
    if rule == 'upstream':
        old_places = new_places = tuple(range(len(old_places)))
    if tuple(old_grid) == tuple(new_grid):
        return table
    patches = resize_position_grid(remove_tokens(table, old_places), old_grid, new_grid)
    return insert_tokens(patches, [table[:, place, None] for place in old_places], new_places)

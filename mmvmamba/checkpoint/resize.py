"""Resizes the learned position embedding of a file to the grid of the backbone that takes it."""

import math

from mmengine.logging import print_log
from torch import Tensor, nn

from mmvmamba.layers.position_embedding import (
    class_token_places,
    remove_tokens,
    resize_position_embedding,
)

from .safe_load import CheckpointError

__all__ = ['fit_position_embedding']


def fit_position_embedding(backbone: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    """Resizes the entry ``pos_embed`` under ``prefix`` in place, if it is there and made for
    another grid.

    The grid of the file must be square. Class tokens are found as the backbone has them; a backbone
    without one takes the patches' entries alone from a file with one.
    """
    key = f'{prefix}pos_embed'
    own = getattr(backbone, 'pos_embed', None)
    table = state.get(key)
    if own is None or table is None or table.shape == own.shape or table.shape[-1] != own.shape[-1]:
        return
    class_token = getattr(backbone, 'class_token', 'none')
    if class_token == 'none' and f'{prefix}cls_token' in state:
        table = remove_tokens(table, _token_places(state, prefix, table.shape[1] - 1))
    old_grid = _square(table.shape[1] - len(class_token_places(class_token, 0)), key)
    new_grid = tuple(backbone.position_grid)
    rule = getattr(backbone, 'position_rule', 'token_aware')
    state[key] = resize_position_embedding(table, old_grid, new_grid, class_token, rule)
    print_log(
        f'{key}: resized from {old_grid[0]} x {old_grid[1]} to {new_grid[0]} x {new_grid[1]} '
        f'positions' + ('' if class_token == 'none' else f', rule {rule!r}'),
        logger='current',
    )


def _token_places(state: dict[str, Tensor], prefix: str, num_patches: int) -> tuple[int, ...]:
    # The first release, whose files hold rotation tables, has its token at the head; all others in
    # the middle.
    is_first_release = f'{prefix}rope.freqs_cos' in state
    return class_token_places('head' if is_first_release else 'middle', num_patches)


def _square(length: int, key: str) -> tuple[int, int]:
    side = math.isqrt(length)
    if side * side != length:
        raise CheckpointError(
            f'{key} has {length} positions, which is no square grid: its shape is not known, so it '
            f'cannot be resized'
        )
    return side, side

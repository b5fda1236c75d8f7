"""Rotary position embedding over a grid of patches, as Vim's first releases apply it."""

import torch
from torch import Tensor, nn

from mmvmamba.ops.symbolic import one_call

__all__ = ['GridRotation']

# Positions run from 0 to this number along each side, whatever the size of the grid.
REFERENCE_SIDE = 14


class GridRotation(nn.Module):
    """Tables by which channel pairs of a patch are turned: half by its row, half by its column.

    Args:
        embed_dims: Width of the tokens, a multiple of 4.
        grid: Height and width of the grid whose tables are stored, with the weights as in the
            official files; those of any other grid are computed when asked for.
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, embed_dims: int, grid: tuple[int, int]) -> None:
        super().__init__()
        if embed_dims % 4:
            raise ValueError(f'embed_dims must be a multiple of 4 for rope, got {embed_dims}')
        self.embed_dims = embed_dims
        self.grid = (grid[0], grid[1])
        angles = grid_angles(embed_dims, self.grid)
        self.register_buffer('freqs_cos', angles.cos())
        self.register_buffer('freqs_sin', angles.sin())

    def forward(self, grid: tuple[int, int], num_skipped: int = 0) -> tuple[Tensor, Tensor]:
        """The tables for a sequence: tokens that are not turned, then the patches of the grid.

        Args:
            grid: Height and width of the grid.
            num_skipped: Number of tokens that are not turned.

        Returns:
            Cosines and sines, both ``(num_skipped + h * w, C)``.
        """
        cos, sin = tables_of_grid(*grid, self.freqs_cos, self.freqs_sin, self.grid)
        unturned = cos.new_ones(num_skipped, self.embed_dims)
        return torch.cat([unturned, cos]), torch.cat([torch.zeros_like(unturned), sin])


@one_call
def tables_of_grid(
    height: int, width: int, cos: Tensor, sin: Tensor, own_grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The tables of another grid, or those that are there, of their own."""
    if (height, width) == own_grid:
        return cos, sin
    angles = grid_angles(cos.shape[-1], (height, width), cos.device)
    return angles.cos().to(cos.dtype), angles.sin().to(sin.dtype)


def grid_angles(
    embed_dims: int, grid: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """The angle of each patch and channel, ``(h * w, C)`` in float32; a pair shares its angle."""
    width = embed_dims // 2
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
    frequencies = (1 / 10000**exponents).repeat_interleave(2)
    rows, columns = (
        torch.arange(side, dtype=torch.float32, device=device) / side * REFERENCE_SIDE
        for side in grid
    )
    rows = (rows[:, None] * frequencies)[:, None].expand(-1, grid[1], -1)
    columns = (columns[:, None] * frequencies)[None].expand(grid[0], -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)

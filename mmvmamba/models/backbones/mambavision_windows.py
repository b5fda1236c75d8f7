"""Cutting maps into windows of tokens, and the inverse."""

from torch import Tensor

__all__ = ['window_partition', 'window_reverse']


def window_partition(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Cuts ``(N, C, H, W)`` into windows, row by row: ``(N * windows, L, C)``."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // window[0], window[0], width // window[1], window[1])
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, window[0] * window[1], channels)


def window_reverse(tokens: Tensor, window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse of ``window_partition``: puts windows together into maps of the given size."""
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = tokens.view(-1, rows, columns, *window, tokens.shape[-1])
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, tokens.shape[-1], *size)

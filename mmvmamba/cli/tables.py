"""Tables on a terminal."""

from collections.abc import Sequence

__all__ = ['format_columns']


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Lays rows out in columns that are as wide as they must be, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )

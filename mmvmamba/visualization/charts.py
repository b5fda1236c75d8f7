"""Charts in one look, written without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ['Series', 'draw_speed', 'name_points', 'new_figure', 'save']

# Name of a line: its x and y values.
Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
DPI = 130
NAME_SIZE = 7


def new_figure(
    count: int = 1, width: float = 6.4, height: float = 4.4, columns: int = 4
) -> tuple[Figure, list]:
    """A figure with axes side by side, and in rows if there are many.

    Args:
        count: How many axes.
        width: Of each, in inches.
        height: Of each, in inches.
        columns: Axes of a row, at most.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout='constrained')
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    for item in axes:
        item.grid(True, color='#dddddd', linewidth=0.7)
        item.set_axisbelow(True)
        item.spines[['top', 'right']].set_visible(False)
    return figure, axes


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure; the name's ending says how, such as ``.png``."""
    figure.savefig(path, dpi=DPI)


def name_points(axes: Axes, points: Sequence[tuple[str, float, float, Any]]) -> None:
    """Writes names beside points so that none lies on another, or on a point.

    Args:
        axes: With its scales and limits as they will be.
        points: Name, place and colour of each; of those that are close the first ones are nearest.
    """
    places = axes.transData.transform([point[1:3] for point in points]) * 72 / axes.figure.dpi
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    for (name, x, y, colour), (left, middle) in zip(points, places, strict=True):
        width = 0.62 * NAME_SIZE * len(name)
        for step in range(12):
            # To the right and to the left of the point, each time a little further off.
            right_side, away = step % 2 == 0, (step // 2 + 1) // 2 * (-1) ** (step // 2)
            start = left + 5 if right_side else left - 5 - width
            low = middle + away * 1.15 * NAME_SIZE - NAME_SIZE / 2
            box = start, low, start + width, low + NAME_SIZE
            if not any(_meet(box, other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            name, (x, y), (start - left, low - middle), textcoords='offset points',
            fontsize=NAME_SIZE, color=colour, annotation_clip=False,
        )  # fmt: skip


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def draw_speed(speeds: Series, memory: Series, path: str | Path, x_label: str) -> None:
    """Draws images per second and memory beside each other, on logarithmic scales.

    Args:
        speeds: Images per second of each model, over what was swept.
        memory: MiB of each.
        path: Where the picture is written.
        x_label: What was swept.
    """
    figure, (left, right) = new_figure(2)
    for axes, series, title in ((left, speeds, 'images / s'), (right, memory, 'peak memory, MiB')):
        _draw_lines(axes, series)
        axes.set_yscale('log')
        axes.yaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_minor_formatter('{x:g}')
        axes.tick_params('y', which='both', labelsize=8)
        axes.set_xlabel(x_label)
        axes.set_title(title, loc='left', fontsize=11)
    left.legend(frameon=False, fontsize=9)
    save(figure, path)


def _draw_lines(axes: Axes, series: Series) -> None:
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, marker='o', markersize=4, label=name)
    axes.set_xticks(sorted({x for xs, _ in series.values() for x in xs}))

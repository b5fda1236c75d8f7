"""Charts in one look, written without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ['Series', 'draw_speed', 'new_figure', 'save']

# Name of a line: its x and y values.
Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
DPI = 130


def new_figure(columns: int = 1, width: float = 6.4, height: float = 4.4) -> tuple[Figure, list]:
    """A figure with axes side by side.

    Args:
        columns: How many axes.
        width: Of each, in inches.
        height: Of each, in inches.
    """
    figure = Figure(figsize=(columns * width, height), layout='constrained')
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for item in axes:
        item.grid(True, color='#dddddd', linewidth=0.7)
        item.set_axisbelow(True)
        item.spines[['top', 'right']].set_visible(False)
    return figure, axes


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure; the name's ending says how, such as ``.png``."""
    figure.savefig(path, dpi=DPI)


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

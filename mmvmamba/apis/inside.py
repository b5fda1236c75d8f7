"""Pictures of what goes on inside a model, by its name or config and an image."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from mmengine.config import Config
from torch import Tensor, nn

from mmvmamba.models.backbones.base import backbone_of
from mmvmamba.visualization.charts import name_points, new_figure, save
from mmvmamba.visualization.heatmaps import (
    class_activation,
    draw_heat,
    draw_paths,
    feature_colours,
    receptive_field,
)
from mmvmamba.visualization.panels import row_of_pictures
from mmvmamba.visualization.recording import record_attention, record_scans

from .bare_models import build_bare, default_shape
from .model_table import MODEL_TABLE

__all__ = ['INSIDE', 'draw_curves', 'draw_index', 'draw_inside']

# ImageNet's mean and deviation, which all families take.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# Detectors and segmentors are looked at with an image of this height and width.
SHAPE = (256, 256)
# Pictures have this height, and at most so many times the width.
HEIGHT, WIDEST = 320, 4
# A map with fewer tokens on a side has no path to speak of.
LEAST_SIDE = 4


def draw_inside(
    kind: str,
    config: Config,
    image: np.ndarray,
    model: nn.Module | None = None,
    place: tuple[float, float] = (0.5, 0.5),
) -> np.ndarray:
    """Draws one of ``INSIDE``.

    Args:
        kind: What.
        config: That of the model.
        image: RGB, uint8 (H, W, 3).
        model: With weights; None for one that is not trained.
        place: The token that is looked at, as shares of width and height.

    Returns:
        RGB, uint8.

    Raises:
        ValueError: The model has no such thing.
    """
    if model is None:
        torch.manual_seed(0)
        model = build_bare(config)
    shape = default_shape(config) if config.default_scope == 'mmpretrain' else SHAPE
    return INSIDE[kind](model.eval(), _shown(image), _prepared(image, shape), place)


def _prepared(image: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """What a model takes: an image of a size, with ImageNet's mean and deviation."""
    small = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
    values = (small.astype(np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def _shown(image: np.ndarray) -> np.ndarray:
    """The image as it is seen: what the model takes is pressed into a square."""
    width = round(image.shape[1] * HEIGHT / image.shape[0])
    way = cv2.INTER_AREA if image.shape[0] > HEIGHT else cv2.INTER_CUBIC
    size = min(max(width, HEIGHT // WIDEST), HEIGHT * WIDEST), HEIGHT
    return cv2.resize(image, size, interpolation=way)


def _scan(model: nn.Module, image: np.ndarray, tensor: Tensor, place: tuple) -> np.ndarray:
    scans = record_scans(backbone_of(model), tensor)
    # The last maps are the smallest: their arrows can be seen.
    shown = next((scan for scan in scans[::-1] if min(scan.grid) >= LEAST_SIDE), scans[0])
    return draw_paths(shown.paths, shown.grid)


def _decay(model: nn.Module, image: np.ndarray, tensor: Tensor, place: tuple) -> np.ndarray:
    scan = record_scans(backbone_of(model), tensor)[0]
    token = _token(scan.grid, place)
    pictures = {'image': _mark(image, place)}
    for i, heat in enumerate(scan.decay(token)):
        title = f'left, direction {i + 1} of {len(scan.paths)}'
        pictures[title] = draw_heat(image, heat.view(scan.grid).numpy())
    return row_of_pictures(pictures)


def _attention(model: nn.Module, image: np.ndarray, tensor: Tensor, place: tuple) -> np.ndarray:
    if not hasattr(model, 'head'):
        raise ValueError('attention is shown of classifiers, whose windows hold the whole map')
    pictures = {'image': _mark(image, place)}
    for item in record_attention(backbone_of(model), tensor)[-6:]:
        count = item.weights.shape[-1]
        side = int(count**0.5)
        # A class token, the first or the last one, is not shown.
        weights = item.weights[0, :, : side * side][_token((side, side), place)]
        pictures[item.name] = draw_heat(image, weights.view(side, side).numpy())
    return row_of_pictures(pictures, 240)


def _cam(model: nn.Module, image: np.ndarray, tensor: Tensor, place: tuple) -> np.ndarray:
    if not hasattr(model.backbone, 'feature_maps') or not hasattr(model, 'head'):
        raise ValueError('class activation is that of a classifier; take the kind features')
    heat, label = class_activation(model, tensor)
    meta = getattr(model, '_dataset_meta', None) or {}
    name = meta['classes'][label] if 'classes' in meta else f'class {label}'
    return row_of_pictures({'image': image, name: draw_heat(image, heat)})


def _features(model: Any, image: np.ndarray, tensor: Tensor, place: tuple) -> np.ndarray:
    with torch.no_grad():
        maps = model.extract_feat(tensor)
        if len(maps) == 1 or maps[0].dim() < 4:
            count = len(model.backbone.stage_channels)
            stages = [(i + 1) * count // 4 - 1 for i in range(4)]
            _, maps = model.backbone.feature_maps(tensor, stages)
    names = (f'map {i + 1}, {x.shape[2]} x {x.shape[3]}' for i, x in enumerate(maps))
    size = image.shape[1], image.shape[0]
    colours = (cv2.resize(feature_colours(x[0]), size, None, 0, 0, cv2.INTER_NEAREST) for x in maps)
    return row_of_pictures({'image': image, **dict(zip(names, colours, strict=True))}, 240)


def _field(model: nn.Module, image: np.ndarray, tensor: Tensor, place: tuple) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, *tensor.shape[1:], generator=generator)
    field = receptive_field(backbone_of(model), images)
    # Most of it is small: a logarithm shows how far it reaches.
    heat = np.log1p(field / max(field.mean(), 1e-12))
    black = np.zeros((*tensor.shape[2:], 3), np.uint8)
    return row_of_pictures({'receptive field of the middle': draw_heat(black, heat, 1.0)})


# What can be drawn, by name.
INSIDE: dict[str, Callable] = {
    'scan': _scan,
    'field': _field,
    'cam': _cam,
    'features': _features,
    'decay': _decay,
    'attention': _attention,
}


def _token(grid: tuple[int, int], place: tuple[float, float]) -> int:
    height, width = grid
    x, y = (min(max(share, 0), 0.999) for share in place)
    return int(y * height) * width + int(x * width)


def _mark(image: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    picture = image.copy()
    height, width = image.shape[:2]
    centre = int(place[0] * width), int(place[1] * height)
    cv2.circle(picture, centre, 7, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.circle(picture, centre, 7, (220, 30, 30), 2, cv2.LINE_AA)
    return picture


def draw_curves(logs: Sequence[str | Path], path: str | Path) -> list[str]:
    """Draws the losses and the figures of validation of one or several trainings.

    Args:
        logs: Work dirs, or the files ``scalars.json`` that trainings leave in ``vis_data``.
        path: Where the picture is written.

    Returns:
        The names of the figures.

    Raises:
        ValueError: A log is missing, empty or torn.
    """
    names = _run_names(logs)
    lines: dict[str, dict[str, tuple[list, list]]] = {}
    for log in logs:
        for name, points in _read_log(Path(log)).items():
            lines.setdefault(name, {})[names[str(Path(log))]] = points
    # Whole losses and figures of validation; parts of losses, times and memory are left out, and
    # what does not occur, which COCO's figures say with -1.
    shown = [
        name
        for name, runs in lines.items()
        if (name in ('loss', 'lr') or '/' in name)
        and any(value != -1 for _, ys in runs.values() for value in ys)
    ]
    figure, axes = new_figure(max(len(shown), 1), width=4.6, height=3.6)
    colours = {name: f'C{i}' for i, name in enumerate(names.values())}
    for item, name in zip(axes, shown, strict=False):
        for run, (xs, ys) in lines[name].items():
            marker = '.' if len(xs) < 30 else None
            item.plot(xs, ys, label=run, marker=marker, color=colours[run])
        item.set_title(name, loc='left', fontsize=10)
        item.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        # mmengine counts what is validated in epochs where training does.
        item.set_xlabel('epoch or step' if '/' in name else 'step')
    axes[0].legend(frameon=False, fontsize=8)
    save(figure, path)
    return shown


def _run_names(logs: Sequence[str | Path]) -> dict[str, str]:
    """The name of each work dir, or the whole path where two have the same name."""
    names = {}
    for log in map(Path, logs):
        whole = log.resolve()
        names[str(log)] = whole.parents[2].name if log.name == 'scalars.json' else whole.name
    is_shared = {name for name, count in Counter(names.values()).items() if count > 1}
    return {log: log if name in is_shared else name for log, name in names.items()}


def _read_log(log: Path) -> dict[str, tuple[list, list]]:
    if log.is_dir():
        found = sorted(log.glob('*/vis_data/scalars.json'))
        if not found:
            raise ValueError(f'{log} has no log of a training (*/vis_data/scalars.json)')
        log = found[-1]
    if not log.is_file():
        raise ValueError(f'there is no log {log}')
    points: dict[str, tuple[list, list]] = {}
    for number, line in enumerate(log.read_text().splitlines(), start=1):
        try:
            record = json.loads(line)
            step = record.get('step', record.get('iter', number))
        except (json.JSONDecodeError, AttributeError):
            raise ValueError(f'{log}, line {number} is torn: {line[:60]!r}') from None
        for name, value in record.items():
            if isinstance(value, int | float) and name not in ('step', 'iter', 'epoch'):
                xs, ys = points.setdefault(name, ([], []))
                xs.append(step)
                ys.append(value)
    if not points:
        raise ValueError(f'{log} is empty: the training wrote nothing yet')
    return points


def draw_index(path: str | Path, speeds: dict[str, float] | None = None) -> int:
    """Draws the published accuracy of the classifiers over their parameters or their speeds.

    Args:
        path: Where the picture is written.
        speeds: Images per second by name, as ``mmvmamba benchmark --csv`` has them; None for
            parameters.

    Returns:
        How many models there are.

    Raises:
        ValueError: None of the speeds is that of a model with a published figure.
    """
    published = {row.name: row.top1 for row in MODEL_TABLE.values() if row.top1 is not None}
    rows = [row for row in MODEL_TABLE.values() if row.name in published]
    rows = [row for row in rows if speeds is None or row.name in speeds]
    if not rows:
        raise ValueError('no speed is that of a classifier with a published accuracy')
    figure, (axes,) = new_figure(1, 10.4, 7.4)
    points: list[tuple[str, float, float, Any]] = []
    for family in dict.fromkeys(row.family for row in rows):
        members = [row for row in rows if row.family == family]
        xs = [row.params / 1e6 if speeds is None else speeds[row.name] for row in members]
        drawn = axes.scatter(xs, [published[row.name] for row in members], label=family, s=30)
        colour = drawn.get_facecolor()[0]
        points += [
            (row.name.removeprefix(f'{family}_'), x, published[row.name], colour)
            for row, x in zip(members, xs, strict=True)
        ]
    axes.set_xscale('log')
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel('parameters, millions' if speeds is None else 'images / s')
    axes.set_title('published top-1 accuracy on ImageNet, %', loc='left', fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc='lower right')
    figure.draw_without_rendering()
    name_points(axes, points)
    save(figure, path)
    return len(rows)

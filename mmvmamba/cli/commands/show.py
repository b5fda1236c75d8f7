"""``mmvmamba show``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmvmamba.cli.arguments import positive
from mmvmamba.cli.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config
    from torch import nn

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'draw the inside of models, trainings, data, the model index'
EXAMPLE = """mmvmamba show decay --model vim_tiny --image street.jpg --place 0.3 0.6
  mmvmamba show curves work_dirs/first work_dirs/second
  mmvmamba show browse --model configs/toy/det_vim_maskrcnn.py --limit 8
  mmvmamba show confusion found.json"""
KINDS = {
    'scan': 'the paths of the scans over the last map',
    'field': 'what the middle of the last map depends on',
    'cam': 'where a classifier sees its best class',
    'features': 'the maps of the stages, in three colours',
    'decay': 'what the state has of each token at a place',
    'attention': 'where a token looks in the last attentions',
    'curves': 'of trainings: work dirs, or scalars.json',
    'index': 'published accuracy over parameters, or speeds',
    'browse': 'what the pipeline of a config feeds the model',
    'confusion': 'which classes a test took for which',
    'worst': 'the images of a test that went worst',
    'best': 'those that went best',
}
# Rows of a table that fit a screen.
MOST_ROWS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the kind of picture and what it is of."""
    kinds = '\n'.join(['of picture:', *(f'{name:<10} {text}' for name, text in KINDS.items())])
    parser.add_argument('kind', choices=list(KINDS), metavar='KIND', help=kinds)
    parser.add_argument(
        'files', nargs='*', metavar='FILE',
        help='logs of curves; a CSV of speeds; what test --out FILE.json wrote for the last three',
    )  # fmt: skip
    parser.add_argument('--model', help='a name of mmvmamba list, or a config file')
    parser.add_argument('--weights', metavar='W', help='default: none, a model that starts')
    parser.add_argument('--image', metavar='FILE', help='default: one that is generated')
    parser.add_argument(
        '--place', nargs=2, type=float, default=(0.5, 0.5), metavar=('X', 'Y'),
        help='of the token: shares of width and height (default: 0.5 0.5)',
    )  # fmt: skip
    parser.add_argument('--limit', type=positive, default=12, help='images (default: 12)')
    parser.add_argument('--out', metavar='FILE', help='default: work_dirs/show/KIND.png')


def run(args: argparse.Namespace) -> None:
    """Writes the picture and says where it is."""
    out = Path(args.out or f'work_dirs/show/{args.kind}.png')
    if out.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        raise UserError(f'--out must end in .png or .jpg, got {out}')
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.kind in ('curves', 'index'):
        _draw_chart(args, out)
    elif args.kind in ('confusion', 'worst', 'best'):
        _draw_results(args, out)
    else:
        _draw_model(args, out)
    print(f'the picture is {out}')


def _draw_chart(args: argparse.Namespace, out: Path) -> None:
    from mmvmamba.apis.inside import draw_curves, draw_index

    if args.kind == 'curves':
        if not args.files:
            raise UserError('name a work dir, or a scalars.json of one')
        draw_curves(args.files, out)
        return
    draw_index(out, _speeds(args.files[0]) if args.files else None)


def _speeds(path: str) -> dict[str, float]:
    import csv

    try:
        with open(path) as file:
            table = csv.DictReader(file)
            if not {'model', 'images/s', 'ms'} <= set(table.fieldnames or ()):
                raise ValueError('other columns')
            # One that ran out of memory has no figure.
            return {row['model']: float(row['images/s']) for row in table if row['ms']}
    except (TypeError, ValueError):
        raise UserError(f'{path} is no table of mmvmamba benchmark --csv') from None


def _draw_results(args: argparse.Namespace, out: Path) -> None:
    from mmvmamba.apis.results import OVERLAP, SCORE, draw_ranked, read_results
    from mmvmamba.visualization.results import draw_confusion

    if len(args.files) != 1:
        raise UserError(f'show {args.kind} takes one file, of mmvmamba test --out FILE.json')
    results = read_results(args.files[0])
    if args.kind == 'confusion':
        matrix = results.confusion()
        draw_confusion(matrix, results.classes, out)
        _show_classes(matrix, results.classes, out.with_suffix('.csv'))
        return
    _write(draw_ranked(results, args.limit, args.kind == 'best'), out)
    if results.task == 'detection':
        print(f'green: right, red: wrong, yellow: missed (score {SCORE}, overlap {OVERLAP})')


def _show_classes(matrix: 'np.ndarray', classes: list[str], path: Path) -> None:
    """Writes the figures of each class as a table, and prints it, or its worst part."""
    import csv

    from mmvmamba.apis.results import class_rows
    from mmvmamba.cli.tables import format_columns

    rows = class_rows(matrix, classes)
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if len(rows) > MOST_ROWS:
        rows = sorted(rows, key=lambda row: row['F1'] or 0)[:MOST_ROWS]
        print(f'the {MOST_ROWS} classes of the lowest F1; {path} has all {len(classes)}')
    texts = [['-' if value is None else str(value) for value in row.values()] for row in rows]
    print(format_columns([list(rows[0]), *texts]))


def _draw_model(args: argparse.Namespace, out: Path) -> None:
    from mmvmamba.apis.bare_models import bare_config, training_config
    from mmvmamba.apis.browse import draw_samples
    from mmvmamba.apis.inside import draw_inside
    from mmvmamba.cli.predictors import read_image

    if not args.model:
        raise UserError(f'show {args.kind} needs --model')
    if args.kind == 'browse':
        picture = draw_samples(training_config(args.model), args.limit)
    else:
        config = bare_config(args.model)
        image = read_image(args.image)[..., ::-1].copy() if args.image else _generated()
        model = _loaded(args, config) if args.weights else None
        picture = draw_inside(args.kind, config, image, model, tuple(args.place))
    _write(picture, out)


def _write(picture: 'np.ndarray', out: Path) -> None:
    import cv2

    if not cv2.imwrite(str(out), picture[..., ::-1]):
        raise UserError(f'{out} cannot be written')


def _loaded(args: argparse.Namespace, config: 'Config') -> 'nn.Module':
    from mmvmamba.apis.bare_models import build_bare
    from mmvmamba.checkpoint import load_model

    model = build_bare(config)
    load_model(model, args.weights)
    return model


def _generated() -> 'np.ndarray':
    """A scene of the toy data."""
    import numpy as np

    from mmvmamba.datasets.toy.scenes import draw_scene

    shapes = ('disc', 'square', 'triangle')
    return draw_scene(np.random.default_rng(3), (256, 256), shapes, num_objects=4)[0]

"""Predictions on whatever a user names: ``mmvmamba predict``."""

import argparse
import json
import sys
from pathlib import Path

import cv2

from .errors import EXIT_FOUND, UserError
from .inputs import Input, find_inputs
from .predictors import Predictor, get_predictor, read_image
from .videos import open_video, predict_video

__all__ = ['predict', 'summary']

OUT_DIR = 'work_dirs/predict'
SHOWN = 5


def predict(args: argparse.Namespace) -> int:
    """Predicts as the arguments of ``mmvmamba predict`` say.

    Returns:
        1 if some of several inputs cannot be read, otherwise 0.

    Raises:
        UserError: There is nothing to predict on or with, or the only input cannot be read.
    """
    inputs = find_inputs(args.inputs)
    out = args.out or (None if args.json else OUT_DIR)
    if len(inputs) == 1:
        # What cannot be read is said before a model is loaded.
        _open(inputs[0])
    predictor = get_predictor(args.model, args.weights, args.device, args.score_thr, args.optimize)
    if args.opacity is not None:
        predictor.opacity = args.opacity
    failed = 0
    for item in inputs:
        try:
            record = predict_input(predictor, item, out)
        except UserError as error:
            if len(inputs) == 1:
                raise
            failed += 1
            print(f'error: {error}', file=sys.stderr)
            continue
        kind = 'video' if item.is_video else 'image'
        record = {kind: str(item.path), 'model': args.model, **record}
        if out:
            Path(out, f'{item.name}.json').write_text(json.dumps(record))
        print(json.dumps(record) if args.json else f'{item.path}: {summary(record)}', flush=True)
    if out and not args.json:
        print(f'pictures and json files of {len(inputs) - failed} are in {out}')
    if failed:
        print(f'{failed} of {len(inputs)} inputs cannot be read', file=sys.stderr)
    return EXIT_FOUND if failed else 0


def _open(item: Input) -> None:
    if item.is_video:
        open_video(str(item.path)).release()
    else:
        read_image(item.path)


def predict_input(predictor: Predictor, item: Input, out: str | None) -> dict:
    """Predicts on one input and writes its picture or video.

    Args:
        predictor: What predicts.
        item: The image or video.
        out: The folder for it; None writes nothing.

    Returns:
        The record of an image, or the frame rate of a video with the records of its frames.

    Raises:
        UserError: The input cannot be read, or the picture cannot be written.
    """
    target = None if out is None else Path(out, item.name)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    if item.is_video:
        return predict_video(predictor, str(item.path), f'{target}.mp4' if target else None)
    record, picture = predictor(read_image(item.path))
    if target is not None and not cv2.imwrite(f'{target}.png', picture):
        raise UserError(f'{target}.png cannot be written')
    return record


def summary(record: dict) -> str:
    """Says in a line what was found."""
    if 'frames' in record:
        return f'{len(record["frames"])} frames'
    if 'classes' in record:
        found = [f'{item["name"]} {item["score"]:.2f}' for item in record['classes']]
    elif 'regions' in record:
        found = [f'{item["name"]} {item["share"]:.0%}' for item in record['regions']]
    else:
        found = [f'{item["name"]} {item["score"]:.2f}' for item in record['instances']]
    more = f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
    return ', '.join(found[:SHOWN]) + more if found else 'nothing found'

"""Predictions on folders and databases of any size: ``mmvmamba predict --results``."""

import argparse
import os

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.fileio import get

from mmvmamba.apis.batch_prediction import list_images, predict_all
from mmvmamba.engine.launch import init_sharing
from mmvmamba.files import digest_of

from .errors import UserError
from .predictors import Predictor, get_predictor

__all__ = ['predict_in_bulk']


def predict_in_bulk(args: argparse.Namespace) -> int:
    """Predicts as the arguments say; the process's share only, if there are several.

    Raises:
        UserError: No file for the results is given, or pictures are asked for.
    """
    if not args.results:
        raise UserError('--launcher is for --results FILE.jsonl; leave it out, or name a file')
    if args.out or args.json:
        raise UserError('--results writes no pictures and prints no lines: leave --out, --json out')
    init_sharing(args.launcher)
    inputs = [image for source in args.inputs for image in list_images(source)]
    predictor = get_predictor(args.model, args.weights, args.device, args.score_thr, args.optimize)
    is_file = args.weights is not None and os.path.isfile(args.weights)
    weights = digest_of(args.weights) if is_file else str(args.weights)
    done = predict_all(
        lambda batch: [_record(predictor, path) for path in batch],
        inputs,
        args.results,
        origin=dict(model=args.model, weights=weights),
    )
    if is_main_process():
        went_on = f'; {done} of them were there from before' if done else ''
        print(f'{args.results}: {len(inputs)} images{went_on}')
    return 0


def _record(predictor: Predictor, path: str) -> dict:
    content = np.frombuffer(get(path), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        # One bad image among millions is a line of the result, not the end of the run.
        return {'error': 'it cannot be read as an image'}
    return predictor.record(image, predictor.find(image))

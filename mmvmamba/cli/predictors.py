"""Detection, segmentation and classification of single images: a record and a picture of each."""

import argparse
import difflib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.infer import BaseInferencer
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement

import mmvmamba
from mmvmamba.apis.model_table import MODEL_TABLE, find_model
from mmvmamba.apis.task_models import TASK_WEIGHTS, task_configs
from mmvmamba.datasets.image_files import find_defect
from mmvmamba.engine.metrics.coco_metric import encode_masks
from mmvmamba.visualization.colours import class_colours
from mmvmamba.visualization.panels import draw_classes, enlargement
from mmvmamba.visualization.predictions import OPACITY, draw_instances, draw_regions

from .configs import load_config, task_of
from .errors import UserError
from .preflight import check_checkpoint

__all__ = [
    'Predictor',
    'add_arguments',
    'check_device',
    'get_predictor',
    'read_image',
]

TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what a program takes to build a predictor and to write what it finds."""
    parser.add_argument('model', help='a name of mmvmamba.list_models(), or a config file')
    parser.add_argument(
        '--weights',
        metavar='W',
        help='checkpoint, ours or an official one (default: the official one, downloaded)',
    )
    parser.add_argument(
        '--out-dir', default='work_dirs/demo', metavar='DIR', help='default: %(default)s'
    )
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='instances below this score are not drawn (default: %(default)s)',
    )
    parser.add_argument(
        '--opacity',
        type=_opacity,
        default=OPACITY,
        metavar='O',
        help="of the classes' colours in a segmentation, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        '--optimize', action='store_true', help='make the model ready for inference first'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')


def _opacity(text: str) -> float:
    if 0 <= (value := float(text)) <= 1:
        return value
    raise argparse.ArgumentTypeError(f'must be from 0 to 1, got {text}')


def read_image(path: str | Path) -> np.ndarray:
    """Reads a picture as the test pipelines do.

    Args:
        path: The file.

    Returns:
        uint8 (H, W, 3), blue first.

    Raises:
        UserError: There is no such file, it is no picture or a damaged one, or it is too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'there is no image {path}')
    content = path.read_bytes()
    defect = find_defect(content, decode=True)
    if not defect:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            return image
        defect = 'no image format that OpenCV knows'
    raise UserError(f'{path} cannot be read as an image: {defect}')


class Predictor:
    """Predicts on single images: ``record, picture = predictor(image)``.

    The image is uint8 (H, W, 3), blue first, as ``read_image`` gives it, and so is the picture. The
    record is made of what json knows.

    Args:
        inferencer: That of the task's toolbox.
        meta: ``classes`` and, if there is one, ``palette``.
        score_thr: Instances below this score are in the record but not in the picture.
    """

    # Of the colours of a segmentation, from 0 to 1.
    opacity = OPACITY

    def __init__(self, inferencer: BaseInferencer, meta: dict, score_thr: float = 0.3) -> None:
        self.inferencer = inferencer
        self.inferencer.show_progress = False
        self.classes: Sequence[str] = meta.get('classes') or ()
        self.palette = class_colours(meta.get('palette'), len(self.classes))
        self.score_thr = score_thr

    def __call__(self, image: np.ndarray) -> tuple[dict, np.ndarray]:
        sample = self.find(image)
        picture = self._picture(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), sample)
        return self.record(image, sample), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)

    def find(self, image: np.ndarray) -> BaseDataElement:
        """The toolbox's own result."""
        return self._sample(image).cpu()

    def record(self, image: np.ndarray, sample: BaseDataElement) -> dict:
        """What is written of a result of ``find``."""
        height, width = image.shape[:2]
        return dict(width=width, height=height, **self._record(sample))

    def _sample(self, image: np.ndarray) -> BaseDataElement:
        return self.inferencer(image, return_datasamples=True)

    def _record(self, sample: BaseDataElement) -> dict:
        raise NotImplementedError

    def _picture(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        raise NotImplementedError


class Detector(Predictor):
    """Boxes ``[left, top, right, bottom]`` and, where the model has them, masks as run lengths."""

    def _sample(self, image: np.ndarray) -> BaseDataElement:
        return super()._sample(image)['predictions'][0]

    def _record(self, sample: BaseDataElement) -> dict:
        found = sample.pred_instances
        masks: Sequence[dict | list | None] = [None] * len(found)
        if 'masks' in found:
            masks = encode_masks(found.masks)
        instances = [
            dict(
                label=int(label),
                name=self.classes[label],
                score=round(float(score), 4),
                bbox=[round(value, 2) for value in box.tolist()],
                **({} if mask is None else dict(mask=mask)),
            )
            for label, score, box, mask in zip(
                found.labels, found.scores, found.bboxes, masks, strict=True
            )
        ]
        return dict(instances=instances)

    def _picture(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        found = sample.pred_instances
        found = found[found.scores >= self.score_thr]
        return draw_instances(image, found, self.classes, self.palette, enlargement(image))


class Segmentor(Predictor):
    """The part of the image that each class covers, and its mask as run lengths."""

    def _record(self, sample: BaseDataElement) -> dict:
        labels = sample.pred_sem_seg.data[0]
        found, counts = labels.unique(return_counts=True)
        masks = encode_masks(labels == found[:, None, None])
        regions = [
            dict(
                label=int(label),
                name=self.classes[label],
                share=round(int(count) / labels.numel(), 4),
                mask=mask,
            )
            for label, count, mask in zip(found, counts, masks, strict=True)
        ]
        return dict(regions=sorted(regions, key=lambda region: -region['share']))

    def _picture(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        labels = sample.pred_sem_seg.data[0].numpy()
        return draw_regions(
            image, labels, self.classes, self.palette, enlargement(image), self.opacity
        )


class Classifier(Predictor):
    """The five best classes."""

    def _sample(self, image: np.ndarray) -> BaseDataElement:
        # Calling the inferencer shows a progress bar for each image.
        batch = next(iter(self.inferencer.preprocess([image])))
        return self.inferencer.forward(batch)[0]

    def _record(self, sample: BaseDataElement) -> dict:
        scores, labels = sample.pred_score.topk(min(TOP, len(sample.pred_score)))
        return dict(
            classes=[
                dict(label=label, name=self._name(label), score=round(score, 4))
                for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
            ]
        )

    def _name(self, label: int) -> str:
        return self.classes[label] if self.classes else str(label)

    def _picture(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        best = self._record(sample)['classes']
        names, scores = ([item[key] for item in best] for key in ('name', 'score'))
        return draw_classes(image, names, scores, enlargement(image))


def get_predictor(
    model: str,
    weights: str | None = None,
    device: str | None = None,
    score_thr: float = 0.3,
    optimize: bool = False,
) -> Predictor:
    """Builds the predictor of a model, whatever its task.

    Args:
        model: A name of ``list_models``, an official name of a classifier, or a config file.
        weights: A checkpoint, ours or an official one; None downloads the official one.
        device: Where it runs; None takes a GPU if there is one.
        score_thr: See ``Predictor``.
        optimize: Whether the model is made ready for inference once.

    Raises:
        UserError: There is no such model or file, or no weights.
        CheckpointError: The weights and the model do not fit.
    """
    check_device(device)
    config, official = _resolve(model)
    weights = weights or official
    if weights is None:
        raise UserError(
            f'{model} has no official weights to download: give --weights FILE. '
            'mmvmamba.list_models(pretrained=True) names the models that have'
        )
    check_checkpoint(weights)
    task = 'classification' if config is None else task_of(config)
    with _quiet():
        what = model if config is None else config
        predictor = _BUILDERS[task](what, weights, device or get_device(), score_thr)
    if optimize:
        predictor.inferencer.model = mmvmamba.optimize_for_inference(predictor.inferencer.model)
    return predictor


def check_device(device: str | None) -> None:
    """Refuses a device that torch cannot put a tensor on.

    Args:
        device: As ``--device`` gives it; None for the best there is.

    Raises:
        UserError: Naming the device.
    """
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'--device {device} is none that this machine has; leave it out, or give cpu'
        ) from error


def _detector(model: Config, weights: str, device: str, score_thr: float) -> Predictor:
    inferencer = mmvmamba.DetInferencer(model, weights, device=device, show_progress=False)
    return Detector(inferencer, inferencer.model.dataset_meta, score_thr)


def _segmentor(model: Config, weights: str, device: str, score_thr: float) -> Predictor:
    inferencer = mmvmamba.MMSegInferencer(model, weights, device=device)
    return Segmentor(inferencer, inferencer.model.dataset_meta, score_thr)


def _classifier(model: str | Config, weights: str, device: str, score_thr: float) -> Predictor:
    inferencer = mmvmamba.ImageClassificationInferencer(model, weights, device=device)
    return Classifier(inferencer, dict(classes=inferencer.classes), score_thr)


_BUILDERS = dict(detection=_detector, segmentation=_segmentor, classification=_classifier)


def _resolve(model: str) -> tuple[Config | None, str | None]:
    """The config, None for a classifier by name, and the address of the official weights."""
    if model.endswith('.py'):
        return load_config(model), None
    configs = task_configs()
    if model.lower() in configs:
        return load_config(str(configs[model.lower()])), TASK_WEIGHTS.get(model.lower())
    try:
        return None, find_model(model).weights
    except ValueError:
        near = difflib.get_close_matches(model.lower(), [*configs, *MODEL_TABLE], n=3, cutoff=0.5)
    hint = f'; did you mean {" or ".join(near)}?' if near else ''
    raise UserError(
        f'there is no model {model!r}: it must be a config file or one of mmvmamba.list_models()'
        f'{hint}'
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what the toolboxes say about settings that matter in training alone."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # mmengine prints the path of each checkpoint, where a pipe may expect JSON.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore', UserWarning)
            yield
    finally:
        logger.setLevel(level)

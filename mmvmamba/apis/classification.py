"""Classifies images with a model by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from .models import get_model
from .preprocess import Preprocessing, open_image

__all__ = ['Prediction', 'classify']

ImageLike = str | Path | Image.Image | np.ndarray


class Prediction(NamedTuple):
    """A class: its index, its name (the index as text if it is not known) and its probability."""

    label: int
    name: str
    score: float


def classify(
    model: nn.Module | str,
    images: ImageLike | Sequence[ImageLike],
    topk: int = 5,
    device: str | torch.device | None = None,
) -> list[Prediction] | list[list[Prediction]]:
    """Classifies images, prepared as the model's authors prepared them for testing.

    Args:
        model: A model of ``get_model``, or a name, of which the official weights are taken.
        images: A file, a PIL image, or an RGB array of bytes; or a list of these.
        topk: Number of guesses for an image.
        device: Where to run; None for where the model is.

    Returns:
        The guesses for an image, best first; for a list of images, a list of these.
    """
    if isinstance(model, str):
        model = get_model(model, pretrained=True)
    preprocessing = getattr(model, 'preprocessing', None)
    if not isinstance(preprocessing, Preprocessing):
        raise ValueError(
            'it is not known how this model wants its images: take one of mmvmamba.get_model, or '
            'set model.preprocessing = mmvmamba.apis.Preprocessing(img_size=...)'
        )
    if topk < 1:
        raise ValueError(f'topk must be 1 or more, got {topk}')
    several = images if isinstance(images, list | tuple) else [images]
    batch = [preprocessing(open_image(image)) for image in several]
    scores = _scores(model, batch, device)
    names = (getattr(model, '_dataset_meta', None) or {}).get('classes')
    results = [_best(row, min(topk, len(row)), names) for row in scores]
    return results if several is images else results[0]


@torch.no_grad()
def _scores(
    model: nn.Module, batch: list[torch.Tensor], device: str | torch.device | None
) -> torch.Tensor:
    was_training = model.training
    model = model.eval() if device is None else model.to(device).eval()
    parameter = next(model.parameters())
    images = torch.stack(batch).to(parameter.device, parameter.dtype)
    scores = model(images).float().softmax(dim=-1).cpu()
    model.train(was_training)
    return scores


def _best(scores: torch.Tensor, count: int, names: Sequence[str] | None) -> list[Prediction]:
    values, labels = scores.topk(count)
    return [
        Prediction(label, names[label] if names else str(label), value)
        for label, value in zip(labels.tolist(), values.tolist(), strict=True)
    ]

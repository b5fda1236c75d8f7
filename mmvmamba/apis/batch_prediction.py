"""Predictions for any number of images: shared by processes, taken up where they stopped."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import get
from PIL import Image
from torch import nn

from mmvmamba.datasets.image_files import is_image_name
from mmvmamba.datasets.lmdb.backend import LMDB_PREFIX
from mmvmamba.datasets.lmdb.reader import find_database
from mmvmamba.datasets.lmdb.shards import find_databases, open_reader
from mmvmamba.engine.shared_results import SharedResults

from .classification import classify
from .models import get_model

__all__ = ['BatchClassifier', 'list_images', 'predict_all']


def list_images(source: str | os.PathLike) -> list[str]:
    """The images of a folder, by name, or of a database or several (``train-*.lmdb``), in order.

    Args:
        source: Folder or database.

    Raises:
        ValueError: If there is no image.
    """
    source = os.fspath(source)
    if find_database(source) is not None or find_databases(source):
        keys = [key for key in open_reader(source).sample_keys() if is_image_name(key)]
        found = [f'{LMDB_PREFIX}{source}/{key}' for key in keys]
    else:
        found = sorted(str(path) for path in Path(source).rglob('*') if is_image_name(str(path)))
    if not found:
        raise ValueError(f'{source} must be a folder or a database with images; it has none')
    return found


def predict_all(
    predict: Callable[[list[str]], list[dict]],
    inputs: Sequence[str],
    output: str | os.PathLike,
    batch_size: int = 32,
    origin: dict[str, str] | None = None,
) -> int:
    """Predicts for each input and writes a line of JSON for each into one file, in their order.

    Every process of a distributed run takes a share; the first one puts the shares together. A run
    that was stopped goes on when it is started again, also with another number of processes.

    Args:
        predict: Gives a record for each of some inputs.
        inputs: What is predicted for; the same in all processes.
        output: The file. Until it is whole, its parts lie beside it.
        batch_size: Inputs of one call.
        origin: What predictions depend on, by name, such as the model and its weights; a run goes
            on with the same only.

    Returns:
        How many inputs an earlier run had done.

    Raises:
        ValueError: The parts that lie there are of another origin.
    """
    results = SharedResults(output, inputs, origin or {})
    with results:
        for start in range(0, len(results.share), batch_size):
            batch = results.share[start : start + batch_size]
            results.add(dict(zip(batch, predict(batch), strict=True)))
    results.put_together()
    return results.done


class BatchClassifier:
    """A classifier that is called with lists of paths, or with the batches of a Ray data set.

    ``ray.data.from_items(paths).map_batches(BatchClassifier, fn_constructor_args=('vim_tiny',
    'vim_tiny.pth'), ...)``: each worker of Ray builds the model once.

    Args:
        model: A model of ``get_model``, or a name.
        pretrained: See ``get_model``.
        topk: Number of guesses for an image.
    """

    def __init__(
        self, model: nn.Module | str, pretrained: bool | str = True, topk: int = 5
    ) -> None:
        self.model = get_model(model, pretrained) if isinstance(model, str) else model
        self.topk = topk

    def predict(self, inputs: Sequence[str]) -> list[dict]:
        """Classifies images by path, ``lmdb://`` paths too."""
        images = [Image.open(io.BytesIO(get(path))) for path in inputs]
        # A list of images gives a list of lists.
        found: Any = classify(self.model, images, self.topk)
        return [
            {
                'labels': [guess.label for guess in guesses],
                'names': [guess.name for guess in guesses],
                'scores': [guess.score for guess in guesses],
            }
            for guesses in found
        ]

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Adds columns ``labels``, ``names`` and ``scores`` to a batch with a column ``item``."""
        records = self.predict([str(path) for path in batch['item']])
        columns = {name: np.array([record[name] for record in records]) for name in records[0]}
        return {**batch, **columns}

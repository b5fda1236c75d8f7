"""Predictions for any number of images: shared by processes, taken up where they stopped."""

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.fileio import get
from PIL import Image
from torch import nn

from mmvmamba.datasets.image_files import is_image_name
from mmvmamba.datasets.lmdb.backend import LMDB_PREFIX
from mmvmamba.datasets.lmdb.reader import find_database
from mmvmamba.datasets.lmdb.shards import find_databases, open_reader
from mmvmamba.files import put_in_place

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
) -> int:
    """Predicts for each input and writes a line of JSON for each into one file, in their order.

    Every process of a distributed run takes a share; the first one puts the shares together. A run
    that was stopped goes on when it is started again, also with another number of processes.

    Args:
        predict: Gives a record for each of some inputs.
        inputs: What is predicted for; the same in all processes.
        output: The file. Until it is whole, its parts lie beside it.
        batch_size: Inputs of one call.

    Returns:
        How many inputs an earlier run had done.
    """
    output = Path(output)
    rank, processes = get_rank(), get_world_size()
    output.parent.mkdir(parents=True, exist_ok=True)
    done = set(_finished(output))
    # What was done is known to all before any of them adds to it.
    barrier()
    share = [item for item in inputs[rank::processes] if item not in done]
    with open(_part(output, rank), 'a', encoding='utf-8') as part:
        for start in range(0, len(share), batch_size):
            batch = share[start : start + batch_size]
            for item, record in zip(batch, predict(batch), strict=True):
                part.write(json.dumps({'input': item, **record}) + '\n')
            part.flush()
    barrier()
    if rank == 0:
        _put_together(output, inputs)
    barrier()
    return len(done & set(inputs))


def _part(output: Path, rank: int) -> Path:
    return output.with_name(f'{output.name}.part{rank:05d}')


def _parts(output: Path) -> list[Path]:
    return sorted(output.parent.glob(f'{output.name}.part[0-9]*'))


def _finished(output: Path) -> dict[str, str]:
    """The lines of all parts by input."""
    return {json.loads(line)['input']: line for part in _parts(output) for line in _lines(part)}


def _lines(part: Path) -> Iterator[str]:
    """The whole lines of a part; one that a killed process did not finish is cut off."""
    data = part.read_bytes()
    whole = data[: data.rfind(b'\n') + 1]
    if len(whole) < len(data) and part == _part(part.with_suffix(''), get_rank()):
        os.truncate(part, len(whole))
    yield from whole.decode().splitlines()


def _put_together(output: Path, inputs: Sequence[str]) -> None:
    lines = _finished(output)
    temporary = output.with_name(f'{output.name}.whole')
    with open(temporary, 'w', encoding='utf-8') as file:
        file.writelines(f'{lines[item]}\n' for item in inputs)
    put_in_place(temporary, output)
    for part in _parts(output):
        part.unlink()


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

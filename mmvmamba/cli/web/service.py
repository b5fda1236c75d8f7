"""What the web page asks for: predictions that can be drawn anew, and pictures of the inside."""

import json
import shutil
import tempfile
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from mmvmamba.apis.bare_models import bare_config
from mmvmamba.apis.inside import draw_inside
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.predictors import Predictor, get_predictor, read_image
from mmvmamba.datasets.toy.scenes import draw_scene
from mmvmamba.visualization.panels import enlargement
from mmvmamba.visualization.predictions import draw_instances, draw_regions

__all__ = [
    *('MAX_BYTES', 'MAX_PIXELS', 'Downloads', 'Found', 'Models'),
    *('example_images', 'read_upload'),
]

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 25_000_000
# Models that are kept for the next question.
KEPT = 2
# Results that stay until Gradio has certainly copied them.
KEPT_RESULTS = 32


@dataclass
class Found:
    """What a model found in an image, to be drawn with other settings.

    Args:
        image: RGB, uint8 (H, W, 3).
        record: What is written as JSON.
        sample: The toolbox's own result.
        classes: Name of each label.
        palette: Colour of each label.
    """

    image: np.ndarray
    record: dict
    sample: BaseDataElement
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]

    @property
    def names(self) -> list[str]:
        """The classes of the objects that were found."""
        return sorted({item['name'] for item in self.record.get('instances', ())})

    def draw_objects(self, threshold: float, names: Sequence[str]) -> tuple[np.ndarray, int]:
        """Draws the objects of some classes, all if none is named, from a score on; and counts."""
        found = self.sample.pred_instances
        kept = found.scores >= threshold
        if names:
            kept &= found.labels.new_tensor(
                [self.classes[label] in names for label in found.labels.tolist()], dtype=bool
            )
        found, factor = found[kept], enlargement(self.image)
        picture = draw_instances(self.image, found, self.classes, self.palette, factor)
        return picture, len(found)

    def draw_classes_of_pixels(self, opacity: float) -> np.ndarray:
        """Draws the regions of a segmentation."""
        labels = self.sample.pred_sem_seg.data[0].numpy()
        return draw_regions(
            self.image, labels, self.classes, self.palette, enlargement(self.image), opacity
        )

    def class_at(self, x: int, y: int) -> str:
        """The class at a place of that picture; empty beside the image."""
        labels, factor = self.sample.pred_sem_seg.data[0], enlargement(self.image)
        row, column = y // factor, x // factor
        inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
        return self.classes[int(labels[row, column])] if inside else ''


class Models:
    """The models that were asked for last, shared by all who use the page.

    Args:
        device: Where they run.
    """

    def __init__(self, device: str = 'cpu') -> None:
        self.device = device
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Predictor] = OrderedDict()

    def find(self, task: str, model: str, weights: str, path: str | None) -> Found:
        """Predicts.

        Args:
            task: What the page expects: a key of the record, such as 'instances'.
            model: A name, or a config file.
            weights: A checkpoint; empty for the official one.
            path: The uploaded image.

        Raises:
            UserError: Something of it is not there, or does not fit.
        """
        image = read_upload(path)
        # A model sees one image after the other.
        with self._lock:
            predictor = self._predictor(model.strip(), weights.strip())
            sample = predictor.find(image)
            record = predictor.record(image, sample)
        if task not in record:
            raise UserError(f'{model} is a model of another task: {_TASKS[task]}')
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return Found(rgb, record, sample, predictor.classes, predictor.palette)

    def inside(self, kind: str, model: str, weights: str, path: str | None) -> np.ndarray:
        """Draws what goes on inside a model; without weights, inside one that is not trained."""
        image = cv2.cvtColor(read_upload(path), cv2.COLOR_BGR2RGB)
        with self._lock:
            config = bare_config(model.strip())
            network = None
            if weights.strip():
                network = self._predictor(model.strip(), weights.strip()).inferencer.model
            return draw_inside(kind, config, image, network)

    def _predictor(self, model: str, weights: str) -> Predictor:
        if not model:
            raise UserError('choose a model first')
        key = (model, weights)
        if key not in self._kept:
            self._kept[key] = get_predictor(model, weights or None, self.device, score_thr=0.0)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


_TASKS = {
    'classes': 'choose a classifier',
    'instances': 'choose a detector',
    'regions': 'choose a segmentor',
}


def read_upload(path: str | None) -> np.ndarray:
    """Reads an uploaded image, blue first.

    Raises:
        UserError: There is none, it is none, or it is too large.
    """
    if not path:
        raise UserError('choose an image first')
    if not Path(path).exists():
        raise UserError('choose the image again: uploads are kept for a day')
    size = Path(path).stat().st_size
    if size > MAX_BYTES:
        raise UserError(f'the file has {size / 2**20:.0f} MiB; {MAX_BYTES >> 20} are allowed')
    try:
        with Image.open(path) as header:
            width, height = header.size
    except (OSError, ValueError, Image.DecompressionBombError):
        raise UserError(f'{Path(path).name} is no image that can be read') from None
    if width * height > MAX_PIXELS:
        raise UserError(
            f'the image has {width} x {height} pixels; {MAX_PIXELS // 10**6} million are allowed'
        )
    return read_image(path)


class Downloads:
    """The files of the last results. Gradio copies what it is given, and forgets it in time.

    Args:
        folder: Where they are written; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: deque[Path] = deque()

    def save(self, picture: np.ndarray, record: dict | None = None) -> list[str]:
        """Writes a picture and a record, to be downloaded.

        Args:
            picture: RGB, uint8.
            record: Written as JSON beside it.

        Returns:
            The files.
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        files = [folder / 'result.png']
        cv2.imwrite(str(files[0]), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if record is not None:
            files.append(folder / 'result.json')
            files[1].write_text(json.dumps(record))
        self._kept.append(folder)
        if len(self._kept) > KEPT_RESULTS:
            shutil.rmtree(self._kept.popleft(), ignore_errors=True)
        return [str(file) for file in files]


def example_images(folder: Path) -> list[str]:
    """Writes generated images and returns their paths."""
    files = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scene, _ = draw_scene(rng, (160, 200), ('disc', 'square', 'triangle'), num_objects=4)
        files.append(str(folder / f'shapes_{seed + 1}.png'))
        cv2.imwrite(files[-1], cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
    return files

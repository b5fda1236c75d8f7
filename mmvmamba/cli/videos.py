"""Predictions on the frames of a video."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mmvmamba.datasets.progress import progress_bar

from .errors import UserError
from .predictors import Predictor

__all__ = ['open_video', 'predict_video']

FALLBACK_RATE = 25.0


def open_video(path: str) -> cv2.VideoCapture:
    """Opens a video file.

    Raises:
        UserError: There is no such file, or it is not a video.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no video {path}')
    video = cv2.VideoCapture(path)
    if not video.isOpened():
        raise UserError(f'{path} cannot be read as a video')
    return video


def _frames(video: cv2.VideoCapture, path: str) -> Iterator[np.ndarray]:
    """The frames, blue first.

    Raises:
        UserError: There is not a single one.
    """
    is_read, frame = video.read()
    if not is_read:
        raise UserError(f'{path} cannot be read as a video: it has no frame')
    while is_read:
        yield frame
        is_read, frame = video.read()


def predict_video(predictor: Predictor, path: str, out_file: str | None) -> dict:
    """Predicts on every frame.

    Args:
        predictor: What predicts.
        path: The video.
        out_file: Where the video of the pictures goes; None writes none.

    Returns:
        The frame rate and the records of all frames.
    """
    video = open_video(path)
    # Some containers do not say.
    rate = video.get(cv2.CAP_PROP_FPS) or FALLBACK_RATE
    total = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    writer = None if out_file is None else _Writer(out_file, rate)
    records = []
    with progress_bar(total, 'frame', Path(path).name) as bar:
        for frame in _frames(video, path):
            record, picture = predictor(frame)
            records.append(record)
            if writer is not None:
                writer.write(picture)
            bar.update()
    if writer is not None:
        writer.close()
    video.release()
    return dict(rate=rate, frames=records)


class _Writer:
    """A video of the size of its first frame."""

    def __init__(self, path: str, rate: float) -> None:
        self.path, self.rate = path, rate
        self.file: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        if self.file is None:
            self.size = picture.shape[1], picture.shape[0]
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            self.file = cv2.VideoWriter(self.path, codec, self.rate, self.size)
            if not self.file.isOpened():
                raise UserError(f'{self.path} cannot be written: OpenCV has no MPEG-4 encoder')
        # A legend may be wider or narrower than that of the first frame.
        self.file.write(_fit(picture, self.size))

    def close(self) -> None:
        if self.file is not None:
            self.file.release()


def _fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cuts or fills up the picture at the right and at the bottom."""
    fitted = np.zeros((size[1], size[0], 3), np.uint8)
    part = picture[: size[1], : size[0]]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted

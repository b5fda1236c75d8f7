"""Detects, segments or classifies every frame of a video: writes a video and a json file."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.cli.predictors import Predictor, add_arguments, get_predictor

FALLBACK_RATE = 25.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python demo/video_demo.py street.mp4 l1_upernet --weights l1_upernet.pth',
    )
    parser.add_argument('video', help='video file that OpenCV reads')
    add_arguments(parser)
    return parser.parse_args(argv)


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


def frames(video: cv2.VideoCapture, path: str) -> Iterator[np.ndarray]:
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


def predict_video(predictor: Predictor, path: str, out_file: str) -> dict:
    """Writes the video of the pictures; a file in parts until it is complete.

    Returns:
        The frame rate and the records of all frames.
    """
    video = open_video(path)
    # Some containers do not say.
    rate = video.get(cv2.CAP_PROP_FPS) or FALLBACK_RATE
    total = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    writer, records = None, []
    for frame in tqdm(frames(video, path), total=total, unit='frame'):
        record, picture = predictor(frame)
        records.append(record)
        if writer is None:
            size = picture.shape[1], picture.shape[0]
            writer = cv2.VideoWriter(out_file, cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
            if not writer.isOpened():
                raise UserError(f'{out_file} cannot be written: OpenCV has no MPEG-4 encoder')
        # A legend may be wider or narrower than that of the first frame.
        writer.write(_fit(picture, size))
    writer.release()
    video.release()
    return dict(rate=rate, frames=records)


def _fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cuts or fills up the picture at the right and at the bottom."""
    fitted = np.zeros((size[1], size[0], 3), np.uint8)
    part = picture[: size[1], : size[0]]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        open_video(args.video).release()
        predictor = get_predictor(args.model, args.weights, args.device, args.score_thr)
        predictor.opacity = args.opacity
        out = Path(args.out_dir, f'{Path(args.video).stem}_{Path(args.model).stem}')
        out.parent.mkdir(parents=True, exist_ok=True)
        content = predict_video(predictor, args.video, f'{out}.mp4')
        content = dict(video=args.video, model=args.model, **content)
        Path(f'{out}.json').write_text(json.dumps(content))
    print(f'written: {out}.mp4, {out}.json')


if __name__ == '__main__':
    main()

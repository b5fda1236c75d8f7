"""Detects, segments or classifies every frame of a video: writes a video and a json file."""

import argparse
import json
from pathlib import Path

from mmvmamba.cli.errors import user_errors
from mmvmamba.cli.predictors import add_arguments, get_predictor
from mmvmamba.cli.videos import open_video, predict_video


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python demo/video_demo.py street.mp4 l1_upernet --weights l1_upernet.pth',
    )
    parser.add_argument('video', help='video file that OpenCV reads')
    add_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        open_video(args.video).release()
        predictor = get_predictor(
            args.model, args.weights, args.device, args.score_thr, args.optimize
        )
        predictor.opacity = args.opacity
        out = Path(args.out_dir, f'{Path(args.video).stem}_{Path(args.model).stem}')
        out.parent.mkdir(parents=True, exist_ok=True)
        content = predict_video(predictor, args.video, f'{out}.mp4')
        content = dict(video=args.video, model=args.model, **content)
        Path(f'{out}.json').write_text(json.dumps(content))
    print(f'written: {out}.mp4, {out}.json')


if __name__ == '__main__':
    main()

"""Detects, segments or classifies an image: writes a picture and a json file."""

import argparse
import json
from pathlib import Path

import cv2

from mmvmamba.cli.errors import user_errors
from mmvmamba.cli.predictors import add_arguments, get_predictor, read_image


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python demo/image_demo.py street.jpg l1_maskrcnn_1x --weights l1_1x.pth',
    )
    parser.add_argument('image', help='image file')
    add_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        image = read_image(args.image)
        predictor = get_predictor(
            args.model, args.weights, args.device, args.score_thr, args.optimize
        )
        predictor.opacity = args.opacity
        record, picture = predictor(image)
        out = Path(args.out_dir, f'{Path(args.image).stem}_{Path(args.model).stem}')
        out.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f'{out}.png', picture)
        content = dict(image=args.image, model=args.model, **record)
        Path(f'{out}.json').write_text(json.dumps(content))
    print(f'written: {out}.png, {out}.json')


if __name__ == '__main__':
    main()

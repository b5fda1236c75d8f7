"""Classifies an image with an exported ONNX file: numpy, onnxruntime and Pillow alone.

python demo/deploy/classify.py model.onnx image.jpg
"""

import argparse
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError


def main() -> int:
    """Prints the most likely classes and their probabilities."""
    parser = argparse.ArgumentParser(description='Classify an image with an exported model.')
    parser.add_argument('model', help='a .onnx file of mmvmamba export')
    parser.add_argument('image')
    parser.add_argument('--topk', type=int, default=5, metavar='K', help='default: 5')
    args = parser.parse_args()
    try:
        session = onnxruntime.InferenceSession(args.model, providers=['CPUExecutionProvider'])
        meta = read_metadata(session)
        images = prepare(Image.open(args.image).convert('RGB'), meta)
    except (FileNotFoundError, UnidentifiedImageError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
        print(f'error: {args.model} is no model that runs here: {error}', file=sys.stderr)
        return 2
    (logits,) = session.run(['logits'], {'images': images})
    scores = softmax(logits[0].astype(np.float64))
    for label in np.argsort(-scores)[: args.topk]:
        name = meta['classes'][label] if meta['classes'] else str(label)
        print(f'{scores[label]:.4f}  {name}')
    return 0


def read_metadata(session: onnxruntime.InferenceSession) -> dict:
    """What the file says about its model."""
    text = session.get_modelmeta().custom_metadata_map.get('mmvmamba')
    meta = json.loads(text) if text else {}
    if meta.get('task') != 'classification':
        raise ValueError('the file is no classifier of mmvmamba export')
    if 'resize' not in meta or meta['batch'] not in (1, 'dynamic'):
        raise ValueError('the file takes several images at a time, or does not say how to resize')
    return meta


def prepare(image: Image.Image, meta: dict) -> np.ndarray:
    """Resizes, crops and norms an image as the model's authors did: ``(1, 3, height, width)``."""
    height, width = meta['size']
    resize = meta['resize']
    if meta['crop_mode'] == 'squash':
        size = (resize, resize)
    else:
        short = min(image.size)
        size = tuple(int(resize * side / short) for side in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    image = image.crop((left, top, left + width, top + height))
    values = np.asarray(image, dtype=np.float32) / 255
    values = (values - np.float32(meta['mean'])) / np.float32(meta['std'])
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None]).astype(meta['dtype'])


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max())
    return x / x.sum()


if __name__ == '__main__':
    sys.exit(main())

"""``mmvmamba export``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmvmamba.cli.arguments import positive
from mmvmamba.cli.errors import UserError

if TYPE_CHECKING:
    from torch import nn

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'write a model as ONNX, OpenVINO or a program of torch, and compare the file with it'
EXAMPLE = """mmvmamba export mambaout_femto --weights mambaout_femto.pth --out mambaout_femto.onnx
  mmvmamba export vim_tiny --format openvino --shape 224 224 --batch dynamic --out vim_tiny.xml"""
# Those of FORMATS in mmvmamba.deploy, which imports torch.
FORMAT_NAMES = ('torch', 'onnx', 'openvino', 'aoti', 'torchscript')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model, its weights and the file."""
    parser.add_argument('model', help='a name of mmvmamba list, or a config file')
    parser.add_argument('--weights', help='file, folder of Hugging Face, address, or hf://...')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='file to write')
    parser.add_argument(
        '--format', choices=FORMAT_NAMES, default='onnx', help='default: %(default)s'
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help="of the images; default: a classifier's own, 800 1280, 512 2048",
    )
    parser.add_argument(
        '--batch', type=_batch, default=1, help="images at a time, or 'dynamic' (default: 1)"
    )
    parser.add_argument(
        '--predictions',
        action='store_true',
        help='of a detector boxes, scores, labels and masks beside what its heads give',
    )
    parser.add_argument('--half', action='store_true', help='weights and input in float16')


def run(args: argparse.Namespace) -> None:
    """Builds the model, writes the file and prints how far it is from the model."""
    from mmvmamba.apis.bare_models import bare_config, default_shape
    from mmvmamba.apis.model_table import find_model
    from mmvmamba.apis.task_models import task_configs
    from mmvmamba.deploy import export

    if args.out.is_dir():
        raise UserError(f'--out must be a file, got the folder {args.out}')
    config = bare_config(args.model)
    is_classifier = not args.model.endswith('.py') and args.model not in task_configs()
    license = find_model(args.model).license if is_classifier and args.weights else None
    made = export(
        _build(args.model, args.weights),
        args.out,
        args.format,
        tuple(args.shape or default_shape(config)),
        args.batch,
        args.half,
        license,
        args.predictions,
    )
    print(
        f'wrote {made.path}: {made.metadata["task"]}, outputs {", ".join(made.metadata["outputs"])}'
    )
    print(f'largest difference from the model, relative to its largest output: {made.error:.1e}')
    if not args.weights:
        print('the weights are random: none were given')


def _build(model: str, weights: str | None) -> 'nn.Module':
    from mmvmamba.apis.models import get_model

    if model.endswith('.py'):
        return _of_config(model, weights)
    return get_model(model, weights or False)


def _of_config(file: str, weights: str | None) -> 'nn.Module':
    """The model of a config, with what a file says of its classes and the config of its images."""
    from mmvmamba.apis.bare_models import bare_config, build_bare
    from mmvmamba.apis.preprocess import Preprocessing
    from mmvmamba.checkpoint import load_converted, load_model

    config = bare_config(file)
    built: Any = build_bare(config)
    if weights:
        converted = load_converted(weights)
        load_model(built, converted)
        built._dataset_meta = converted.meta.get('dataset_meta')
    pipeline = config.test_dataloader.dataset.pipeline
    if config.default_scope == 'mmpretrain' and 'CenterCrop' in {x['type'] for x in pipeline}:
        built.preprocessing = Preprocessing.from_pipeline(pipeline)
    module: nn.Module = built
    return module


def _batch(text: str) -> int | str:
    return text if text == 'dynamic' else positive(text)

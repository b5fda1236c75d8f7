"""``mmvmamba train``."""

import argparse

from mmvmamba.cli.arguments import add_cfg_options, add_launcher, add_verbose, count, positive
from mmvmamba.cli.errors import UserError

__all__ = ['BAD_INPUT', 'EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'train a classifier, detector or segmentor from its config'
EXAMPLE = """mmvmamba train configs/toy/det_plain_mamba_maskrcnn.py --seed 0
  mmvmamba train --data my_photos --model mambaout_femto"""

# Those of mmvmamba.cli.trackers.
TRACKERS = ('tensorboard', 'mlflow', 'wandb')

# Once training runs, a ValueError is a bug and keeps its traceback.
BAD_INPUT = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the config, where to begin and what to change."""
    parser.add_argument('config', nargs='?', help='config file; the task is read off it')
    own = parser.add_argument_group('on your own images, without a config')
    own.add_argument('--data', metavar='DIR', help='class folders, COCO, YOLO, or images and masks')
    own.add_argument(
        '--model',
        metavar='NAME',
        help='of mmvmamba list, or the classifier it begins with',
    )
    own.add_argument(
        '--weights', metavar='W', help='where to begin; none for random (default: the official)'
    )
    own.add_argument(
        '--epochs', type=positive, default=30, metavar='N', help='how long (default: 30)'
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='go on from CKPT, or from the latest of the work dir',
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='load what fits of load_from, and list what does not',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (GPU only)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the real batch size',
    )
    add_cfg_options(parser, 'train_dataloader.batch_size=4')
    parser.add_argument('--seed', type=int, help='random seed (default: a random one, logged)')
    parser.add_argument(
        '--deterministic', action='store_true', help='use deterministic algorithms only (slower)'
    )
    parser.add_argument(
        '--log-to',
        nargs='+',
        choices=TRACKERS,
        default=(),
        metavar='NAME',
        help=f'log figures to {", ".join(TRACKERS)} as well',
    )
    parser.add_argument(
        '--show-val',
        type=count,
        metavar='N',
        help='draw N predictions at each validation, into WORK_DIR/validation',
    )
    add_launcher(parser)
    add_verbose(parser)


def run(args: argparse.Namespace) -> None:
    """Trains; everything that can be refused is refused before the work dir is made."""
    if args.data is None:
        if args.config is None:
            raise UserError('give a config, or --data DIR and --model NAME')
        if args.model or args.weights:
            raise UserError('--model and --weights go together with --data DIR')
    elif args.config is not None or args.model is None:
        raise UserError('--data DIR needs --model NAME and no config')
    from mmvmamba.cli.train_run import train

    train(args)

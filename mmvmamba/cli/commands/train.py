"""``mmvmamba train``."""

import argparse

from mmvmamba.cli.arguments import add_cfg_options, add_launcher, add_verbose, count

__all__ = ['BAD_INPUT', 'EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'train a classifier, detector or segmentor from its config'
EXAMPLE = 'mmvmamba train configs/toy/det_plain_mamba_maskrcnn.py --seed 0'

# Those of mmvmamba.cli.trackers.
TRACKERS = ('tensorboard', 'mlflow', 'wandb')

# Once training runs, a ValueError is a bug and keeps its traceback.
BAD_INPUT = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the config, where to begin and what to change."""
    parser.add_argument('config', help='config file; the task is read off it')
    parser.add_argument(
        '--work-dir', metavar='DIR', help='logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='go on from CKPT, or without CKPT from the latest checkpoint of the work dir, if any',
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='load what fits of the checkpoint that load_from names, and list what does not',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (GPU only)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the real batch size over the one it was set for',
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
    from mmvmamba.cli.train_run import train

    train(args)

"""``mmvmamba data toy``."""

import argparse

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'generate small data sets of coloured shapes, in the layouts of COCO, ADE20K and ImageNet'
EXAMPLE = 'mmvmamba data toy --only coco'

# Those of mmvmamba.datasets.toy.
TOY_DATASETS = ('coco', 'ade20k', 'imagenet')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which sets, how large, and where to."""
    parser.add_argument('--out', default='data/toy', help='parent folder (default: %(default)s)')
    parser.add_argument(
        '--only',
        nargs='+',
        choices=TOY_DATASETS,
        default=TOY_DATASETS,
        metavar='NAME',
        help=f'which data sets to write, of {", ".join(TOY_DATASETS)} (default: all)',
    )
    parser.add_argument(
        '--num-train', type=int, default=400, help='images for training (default: %(default)s)'
    )
    parser.add_argument(
        '--num-val', type=int, default=80, help='images for validation (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='the same seed gives the same files (default: 0)'
    )
    parser.add_argument(
        '--with-corrupted',
        action='store_true',
        help='add one image file that breaks off early to each training split',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a folder that holds something else'
    )


def run(args: argparse.Namespace) -> None:
    """Writes the data sets that are not there yet."""
    from mmvmamba.datasets.toy import make_toy_data

    for name in args.only:
        folder, written = make_toy_data(
            args.out,
            name,
            args.num_train,
            args.num_val,
            args.seed,
            args.with_corrupted,
            args.overwrite,
        )
        print(f'{name}: {"written to" if written else "already complete in"} {folder}')

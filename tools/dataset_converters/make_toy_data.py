"""Generates small data sets of coloured shapes, in the layouts of COCO, ADE20K and ImageNet."""

import argparse

from mmvmamba.cli.errors import user_errors
from mmvmamba.datasets.toy import TOY_DATASETS, make_toy_data


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/dataset_converters/make_toy_data.py --only coco',
    )
    parser.add_argument('--out', default='data/toy', help='parent folder (default: %(default)s)')
    parser.add_argument(
        '--only',
        nargs='+',
        choices=list(TOY_DATASETS),
        default=list(TOY_DATASETS),
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
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
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


if __name__ == '__main__':
    main()

"""``mmvmamba predict``."""

import argparse

from mmvmamba.cli.arguments import fraction

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'classify, detect or segment images, folders and videos'
EXAMPLE = """mmvmamba predict street.jpg --model l1_maskrcnn_1x
  mmvmamba predict photos 'more/*.png' --model mambaout_femto --json > classes.jsonl
  mmvmamba predict data/val.lmdb --model vim_tiny --results val.jsonl
  mmvmamba predict drive.mp4 --model my_config.py --weights work_dirs/my_config/best.pth"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is looked at, the model, and what is written."""
    parser.add_argument(
        'inputs', nargs='+', metavar='INPUT', help='image, video, folder, or pattern in quotes'
    )
    parser.add_argument('--model', required=True, help='a name of mmvmamba list, or a config file')
    parser.add_argument(
        '--weights',
        metavar='W',
        help='checkpoint, ours or an official one (default: the official one, downloaded)',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='a picture and a json file of each go here (default: work_dirs/predict; with --json '
        'nothing is written unless DIR is given)',
    )
    parser.add_argument(
        '--results',
        metavar='FILE.jsonl',
        help='for a folder or LMDB databases of any size: no pictures, a line of JSON for each '
        'image here; processes share the images, and the same command goes on where it stopped',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='with --results: what started the processes (default: none)',
    )
    parser.add_argument('--json', action='store_true', help='print a line of JSON for each input')
    parser.add_argument(
        '--optimize',
        action='store_true',
        help='make the model ready for inference first, which pays off for many images',
    )
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')
    parser.add_argument(
        '--score-thr',
        type=fraction,
        default=0.3,
        metavar='S',
        help='instances below this score are not drawn (default: %(default)s)',
    )
    parser.add_argument(
        '--opacity',
        type=fraction,
        metavar='O',
        help="of the classes' colours in a segmentation, 0 to 1",
    )


def run(args: argparse.Namespace) -> int:
    """Predicts; returns 1 if some of several inputs cannot be read."""
    if args.results or args.launcher != 'none':
        from mmvmamba.cli.bulk_prediction import predict_in_bulk

        return predict_in_bulk(args)
    from mmvmamba.cli.prediction import predict

    return predict(args)

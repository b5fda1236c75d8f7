"""``mmvmamba convert``."""

import argparse
from pathlib import Path

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'convert a checkpoint of any supported project to our layout'
EXAMPLE = 'mmvmamba convert hf://hustvl/Vim-tiny-midclstok/vim_t_midclstok_76p1acc.pth vim_tiny.pth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the file, what it is of, and where the result goes."""
    parser.add_argument(
        'source', help='file, folder of Hugging Face, address, or hf://owner/name[/file]'
    )
    parser.add_argument('out', type=Path, help='file to write; its hash is added to the name')
    parser.add_argument('--family', help='refuse weights of any other family')
    parser.add_argument('--entry', help="entry of the file to take, such as 'model_ema'")
    parser.add_argument(
        '--model', help='name of the model they belong to (default: found by keys and shapes)'
    )
    parser.add_argument('--config', help='config of the model they belong to, instead of a name')
    parser.add_argument(
        '--allow-pickle',
        action='store_true',
        help='run the code that is pickled in the file; only for files whose source you trust',
    )


def run(args: argparse.Namespace) -> None:
    """Writes the converted file and loads it into its model."""
    from mmvmamba.cli.conversion import convert

    convert(args)

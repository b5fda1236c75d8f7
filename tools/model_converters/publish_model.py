"""Strips a training checkpoint down to its weights and adds their hash to the file's name."""

import argparse
from pathlib import Path

from mmvmamba.checkpoint import (
    locate,
    plain_meta,
    read_checkpoint,
    save_published,
    weights_to_publish,
)
from mmvmamba.cli.errors import user_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/model_converters/publish_model.py '
        'work_dirs/l1_upernet/iter_160000.pth checkpoints/l1_upernet.pth',
    )
    parser.add_argument('checkpoint', help='checkpoint that a training run wrote')
    parser.add_argument('out', type=Path, help='file to write; its hash is added to the name')
    parser.add_argument(
        '--raw',
        action='store_true',
        help='of a run that averaged its weights (EMAHook), take those that were trained',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args(argv)


def publish(args: argparse.Namespace) -> Path:
    checkpoint = read_checkpoint(locate(args.checkpoint))
    state = weights_to_publish(checkpoint, args.checkpoint, args.raw)
    path = save_published(state, plain_meta(checkpoint.get('meta') or {}), args.out)
    dropped = [key for key in checkpoint if key not in ('meta', 'state_dict')]
    before, after = (Path(name).stat().st_size / 2**20 for name in (args.checkpoint, path))
    print(f'wrote {path}: {len(state)} tensors, {after:.1f} MB of {before:.1f} MB')
    print(f'left out: {", ".join(dropped) or "nothing"}')
    return path


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        publish(args)


if __name__ == '__main__':
    main()

"""Converts a checkpoint of any supported project to a clean one in our layout.

The result holds tensors and plain data only, has its hash in the name, and is proved by loading it
strictly into the model it belongs to.
"""

import mmvmamba  # noqa: F401  isort: skip  says in a sentence if mmengine is missing

import argparse
from pathlib import Path

from mmengine.config import Config

from mmvmamba.apis import get_model, identify_model
from mmvmamba.apis.task_models import build_from_config
from mmvmamba.checkpoint import (
    FAMILIES,
    Converted,
    load_converted,
    load_model,
    plain_meta,
    save_published,
)
from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.version import __version__


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/model_converters/convert_checkpoint.py '
        'hf://hustvl/Vim-tiny-midclstok/vim_t_midclstok_76p1acc.pth checkpoints/vim_tiny.pth',
    )
    parser.add_argument(
        'source', help='file, folder of Hugging Face, address, or hf://owner/name[/file]'
    )
    parser.add_argument('out', type=Path, help='file to write; its hash is added to the name')
    parser.add_argument(
        '--family', choices=list(FAMILIES), help='refuse weights of any other family'
    )
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
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args(argv)


def report(converted: Converted) -> None:
    print(f'family {converted.family}, {converted.style} layout, entry {converted.entry or "none"}')
    print(f'{len(converted.state_dict)} tensors, {len(converted.renamed)} renamed:')
    for old, new in converted.renamed.items():
        print(f'  {old} -> {new}')
    print(f'{len(converted.dropped)} dropped:')
    for key in converted.dropped:
        print(f'  {key}')


def convert(args: argparse.Namespace) -> Path:
    converted = load_converted(args.source, args.entry, args.family, allow_pickle=args.allow_pickle)
    if converted.family is None:
        raise UserError(f'{args.source} is of no known family; known are {", ".join(FAMILIES)}')
    report(converted)
    state = converted.state_dict
    name = args.model
    if args.config:
        # A model of another image size resizes the position embedding while it is loaded.
        model = build_from_config(Config.fromfile(args.config))
        load_model(model, converted)
        loaded = model.state_dict()
        resized = [k for k in state if k in loaded and loaded[k].shape != state[k].shape]
        print(f'{len(resized)} resized: {", ".join(resized)}')
        state = loaded
    elif name is None:
        name = identify_model(converted)
        if name is None:
            raise UserError(
                f'no model of mmvmamba has the keys and shapes of {args.source}; name its config '
                'with --config'
            )
    meta = plain_meta(converted.meta) | dict(
        mmvmamba_version=__version__,
        family=converted.family,
        model=name,
        converted_from=Path(str(args.source)).name,
    )
    path = save_published(state, meta, args.out)
    if args.config:
        load_model(build_from_config(Config.fromfile(args.config)), path)
    else:
        get_model(name, pretrained=path)
    print(f'wrote {path}, which loads strictly into {args.config or name}')
    return path


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        convert(args)


if __name__ == '__main__':
    main()

"""Conversion of a checkpoint of any supported project to a clean one: ``mmvmamba convert``.

The result holds tensors and plain data only, has its hash in the name, and is proved by loading it
strictly into the model it belongs to.
"""

import argparse
from collections.abc import Sequence
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
from mmvmamba.version import __version__

from .errors import UserError

__all__ = ['convert']


def convert(args: argparse.Namespace) -> Path:
    """Converts as the arguments of ``mmvmamba convert`` say.

    Returns:
        The file that was written.

    Raises:
        UserError: If the weights are of no family or model that is known.
    """
    converted = load_converted(args.source, args.entry, args.family, allow_pickle=args.allow_pickle)
    if converted.family is None:
        raise UserError(f'{args.source} is of no known family; known are {", ".join(FAMILIES)}')
    _report(converted)
    state = converted.state_dict
    name = args.model
    if args.config:
        # A model of another image size resizes the position embedding while it is loaded.
        model = build_from_config(Config.fromfile(args.config))
        load_model(model, converted)
        loaded = model.state_dict()
        resized = [k for k in state if k in loaded and loaded[k].shape != state[k].shape]
        _list('resized', resized)
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


def _report(converted: Converted) -> None:
    print(f'family {converted.family}, {converted.style} layout, entry {converted.entry or "none"}')
    print(f'{len(converted.state_dict)} tensors')
    _list('renamed', [f'{old} -> {new}' for old, new in converted.renamed.items()])
    _list('dropped', converted.dropped)


def _list(what: str, keys: Sequence[str]) -> None:
    print('\n  '.join([f'{len(keys)} {what}{":" if keys else ""}', *keys]))

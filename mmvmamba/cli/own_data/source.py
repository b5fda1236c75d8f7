"""Parts of a config as their source text, and what changes in a model for other classes."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.preflight import check_checkpoint

from .found import Settings

__all__ = ['NUM_CLASSES', 'Name', 'first_weights', 'model_changes', 'source']

WIDTH = 100


class Name(str):
    """The name of a variable of the config, which stands in it without quotes."""

    def __repr__(self) -> str:
        return str(self)


NUM_CLASSES = Name('num_classes')


def source(value: object, indent: int = 0) -> str:
    """Writes a value as our configs are written: ``dict(a=1)``, one entry a line if need be.

    Args:
        value: Dicts, lists and tuples of plain values.
        indent: By how much the lines after the first are indented.
    """
    if isinstance(value, dict):
        parts = [(f'{key}=', item) for key, item in value.items()]
        opening, closing = 'dict(', ')'
    elif isinstance(value, list):
        parts = [('', item) for item in value]
        opening, closing = '[', ']'
    else:
        return repr(value)
    flat = ', '.join(f'{prefix}{source(item)}' for prefix, item in parts)
    if indent + len(opening) + len(flat) + 20 <= WIDTH and '\n' not in flat:
        return f'{opening}{flat}{closing}'
    inner = indent + 4
    lines = [f'{" " * inner}{prefix}{source(item, inner)},\n' for prefix, item in parts]
    return f'{opening}\n{"".join(lines)}{" " * indent}{closing}'


def model_changes(cfg: Config, settings: Settings) -> dict:
    """What a config changes in the model of another one: heads of other classes, first weights.

    Raises:
        UserError: The weights are not there.
    """
    changes: dict = _other_classes(cfg.model.to_dict()) or {}
    first = cfg.model.backbone.get('init_cfg') or {}
    official = first.get('checkpoint')
    if settings.weights is None and official:
        check_checkpoint(official)
    else:
        changes['backbone'] = dict(init_cfg=Name(first_weights(settings, replaces=bool(first))))
    return changes


def first_weights(settings: Settings, replaces: bool) -> str:
    """The source of the ``init_cfg`` of a backbone.

    Args:
        settings: What was asked for.
        replaces: Whether the model that is changed has one, whose entries must not stay.

    Raises:
        UserError: There are no weights, or no such file.
    """
    if settings.weights == 'none':
        return 'None'
    address = settings.weights or settings.entry.weights
    if address is None:
        raise UserError(
            f'{settings.entry.name} has no official weights: give --weights FILE, or none'
        )
    check_checkpoint(address)
    if '://' not in address:
        address = str(Path(address).resolve())
    # mmengine leaves a _delete_ that has nothing to delete in the config.
    start = '_delete_=True, ' if replaces else ''
    return f"dict({start}type='Pretrained', checkpoint={address!r})"


def _other_classes(node: object) -> Any:
    """The entries of a model's config that name the number of classes, with the new number."""
    if isinstance(node, dict):
        changes: dict = {key: _other_classes(value) for key, value in node.items()}
        changes = {key: change for key, change in changes.items() if change is not None}
        if 'num_classes' in node:
            changes['num_classes'] = NUM_CLASSES
        return changes or None
    if isinstance(node, list | tuple) and any(_other_classes(item) for item in node):
        # A list is replaced as a whole.
        return [_replaced(item) for item in node]
    return None


def _replaced(node: object) -> object:
    if isinstance(node, dict):
        return {
            key: NUM_CLASSES if key == 'num_classes' else _replaced(value)
            for key, value in node.items()
        }
    return [_replaced(item) for item in node] if isinstance(node, list) else node

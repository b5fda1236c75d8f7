"""Loads weights into models, and accounts for every key that does not fit."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from .convert import Converted, convert, family_of_backbone
from .fitting import Fit, MisfitError, compare, fit, some
from .safe_load import CheckpointError, read_checkpoint
from .sources import locate

__all__ = [
    'fit_model',
    'load_backbone',
    'load_converted',
    'load_model',
    'state_dict_of_run',
]

StateDict = dict[str, Tensor]
HEAD = r'head\.fc\.'


def load_converted(
    source: str | Path,
    entry: str | None = None,
    family: str | None = None,
    map_location: str = 'cpu',
    allow_pickle: bool = False,
) -> Converted:
    """Reads a checkpoint of any source and layout and gives its keys our names.

    Args:
        source: See ``locate``.
        entry: The entry of the file to take, such as 'model_ema'.
        family: The family it must be of; by default any.
        map_location: Where tensors are put.
        allow_pickle: Whether to run what is pickled in the file; only for files whose source is
            trusted.
    """
    checkpoint = read_checkpoint(locate(source), map_location, allow_pickle)
    converted = convert(checkpoint, str(source), entry, family)
    if converted.is_changed:
        print_log(
            f'{source}: {converted.family} weights in the {converted.style} layout'
            + ('' if converted.entry is None else f', entry {converted.entry!r}')
            + f', {len(converted.renamed)} keys renamed'
            + (f', left out: {some(converted.dropped)}' if converted.dropped else ''),
            logger='current',
        )
    return converted


def load_model(
    model: nn.Module,
    weights: str | Path | Converted,
    entry: str | None = None,
    family: str | None = None,
    new_head: bool = False,
) -> None:
    """Loads a classifier, detector or segmentor strictly.

    Args:
        model: The model.
        weights: What ``load_converted`` gave, or its source.
        entry: The entry of the file to take, such as 'model_ema'.
        family: The family it must be of; by default any.
        new_head: Whether a classification head of another size is left as it is.

    Raises:
        CheckpointError: The file and the model do not fit.
    """
    if not isinstance(weights, Converted):
        weights = load_converted(weights, entry, family)
    fit_model(model, weights, new_head=new_head).load_into(model)


def fit_model(
    model: nn.Module, weights: Converted, *, new_head: bool = False, allow_partial: bool = False
) -> Fit:
    """Finds what a classifier, detector or segmentor takes of a checkpoint; one log line says so.

    Args:
        model: The model, on any device; it is not changed.
        weights: What ``convert`` or ``load_converted`` gave.
        new_head: Whether a classification head of another size is left as it is.
        allow_partial: Whether whatever does not fit is left as it is. The backbone must be of the
            same family even so.

    Raises:
        CheckpointError: The file and the model do not fit.
    """
    _check_family(model, weights)
    head_only: tuple[str, ...] = ()
    if not any(key.startswith('head.') for key in model.state_dict()):
        # Files of detectors and segmentors hold what their backbones have from classification.
        keys = getattr(getattr(model, 'backbone', None), 'head_only_keys', ())
        head_only = tuple(rf'backbone\.{key}' for key in keys)
    fitted = fit(
        model,
        weights.state_dict,
        weights.source,
        may_be_unexpected=head_only,
        may_differ=(HEAD,) if new_head else (),
        allow_partial=allow_partial,
    )
    if hasattr(model, 'backbone') and not any(
        key.startswith('backbone.') for key in fitted.state_dict
    ):
        raise CheckpointError(
            f'{weights.source} has nothing for the backbone, {type(model.backbone).__name__}'
        )
    show = ', '.join if allow_partial else some
    if fitted.left_out:
        print_log(f'{weights.source}: not used: {show(fitted.left_out)}', 'current')
    if fitted.new:
        print_log(f'{weights.source}: left as they were: {show(fitted.new)}', 'current')
    return fitted


def state_dict_of_run(
    model: nn.Module,
    checkpoint: Mapping,
    source: str,
    *,
    resume: bool = False,
    allow_partial: bool = False,
) -> StateDict:
    """Finds what a training or test run loads into its model.

    Args:
        model: The model, on any device and in any wrapper of mmengine; it is not changed.
        checkpoint: What ``read_checkpoint`` returned.
        source: Name of the file, for messages.
        resume: Whether the run goes on from the checkpoint, which then must be one of a run with
            the same model.
        allow_partial: See ``fit_model``.

    Raises:
        CheckpointError: The file and the run do not fit.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule('module')
    if resume:
        _check_resumable(model, checkpoint, source)
        state: StateDict = checkpoint['state_dict']
        return state
    try:
        weights = convert(checkpoint, source)
        return fit_model(model, weights, allow_partial=allow_partial).state_dict
    except MisfitError as error:
        raise MisfitError(
            f'{error}. If a part of it is enough, allow_partial=True, or --allow-partial of the '
            'tools, loads what fits'
        ) from error


def load_backbone(
    backbone: nn.Module,
    checkpoint: str | Path,
    prefix: str | None = None,
    map_location: str = 'cpu',
    entry: str | None = None,
) -> None:
    """Loads a backbone from the file of a classifier, a detector, a segmentor or a backbone.

    What only classification needs is left out, and what the file cannot have (norms and adapters of
    detectors) keeps its initial values; one log line names both. Any other difference is an error.

    Args:
        backbone: The backbone.
        checkpoint: See ``locate``.
        prefix: Where the backbone is in the file; by default ``backbone`` if there is such a thing.
        map_location: Where tensors are put before they are copied.
        entry: The entry of the file to take, such as 'model_ema'.

    Raises:
        CheckpointError: The file and the backbone do not fit.
    """
    converted = load_converted(checkpoint, entry, map_location=map_location)
    _check_family(backbone, converted)
    state, outside = _backbone_part(converted.state_dict, backbone, prefix, str(checkpoint))
    fitted = fit(
        backbone,
        state,
        str(checkpoint),
        may_be_unexpected=getattr(backbone, 'head_only_keys', ()),
        may_be_missing=getattr(backbone, 'task_only_keys', ()),
    )
    fitted.load_into(backbone)
    unused = outside + fitted.left_out
    print_log(
        f'{type(backbone).__name__} loaded from {checkpoint}'
        + (f'; not used: {some(unused)}' if unused else '')
        + (f'; new: {some(fitted.new)}' if fitted.new else ''),
        logger='current',
    )


def _check_resumable(model: nn.Module, checkpoint: Mapping, source: str) -> None:
    """Refuses what a training run of this model cannot go on from."""
    _check_family(model, convert(checkpoint, source))
    meta = checkpoint.get('meta') or {}
    lacking = [f'meta.{key}' for key in ('epoch', 'iter') if key not in meta]
    lacking += [key for key in ('state_dict', 'message_hub') if key not in checkpoint]
    if lacking:
        raise CheckpointError(
            f'{source} is no checkpoint of a training run: it has no {some(lacking)}. '
            'To start from its weights, name it with load_from'
        )
    misfit = compare(model, checkpoint['state_dict'])
    if misfit:
        raise CheckpointError(
            f'{source} is of a run with another model than this {type(model).__name__}: {misfit}'
        )


def _check_family(model: nn.Module, weights: Converted) -> None:
    backbone = getattr(model, 'backbone', model)
    family = family_of_backbone(type(backbone))
    if family and weights.family and family.name != weights.family:
        raise CheckpointError(
            f'{weights.source} holds {weights.family} weights, {type(backbone).__name__} takes '
            f'those of {family.name}'
        )


def _backbone_part(
    state: StateDict, backbone: nn.Module, prefix: str | None, source: str
) -> tuple[StateDict, list[str]]:
    """The backbone's own keys, and the first parts of all others."""
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in state) else ''
        if not prefix and not any(key in state for key in backbone.state_dict()):
            raise CheckpointError(
                f'{source} has no keys of {type(backbone).__name__}; its keys start with '
                f'{some(_first_parts(state))}. Say with prefix=... where the backbone is'
            )
    part = _take_prefix(state, prefix, source)
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    return part, _first_parts(key for key in state if not key.startswith(start))


def _take_prefix(state: StateDict, prefix: str, source: str) -> StateDict:
    if not prefix:
        return state
    start = f'{prefix.rstrip(".")}.'
    part = {key.removeprefix(start): state[key] for key in state if key.startswith(start)}
    if not part:
        raise CheckpointError(
            f'{source} has no keys under {start!r}; its keys start with {some(_first_parts(state))}'
        )
    return part


def _first_parts(keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(f'{key.split(".")[0]}.*' if '.' in key else key for key in keys))

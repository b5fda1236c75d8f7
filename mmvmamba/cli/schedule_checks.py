"""Whether schedules fit each other and the length of the training, before it starts."""

from mmengine.config import Config
from mmengine.optim import OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS, Registry, init_default_scope
from torch import nn

from .config_keys import walk
from .errors import UserError

__all__ = ['check_schedule', 'unreached_schedules']

# Settings of schedulers that count epochs or steps.
SPANS = ('begin', 'end', 'length', 'warmup', 'milestones', 'T_max', 'total_iters', 'total_steps')
# An epoch's length is known only once the data are read; it takes part in products alone.
ANY_EPOCH_LENGTH = 1000


def check_schedule(cfg: Config) -> None:
    """Refuses schedulers and hooks that would end the run when they are built or first used.

    Raises:
        UserError: Naming the keys.
    """
    optimizer = _build_optimizer(cfg)
    for key, settings in _schedulers(cfg):
        warmup, length = settings.get('warmup', 0), settings.get('length')
        if length is not None and warmup > length:
            raise UserError(f'{key}.warmup must be at most its length, {length}, got {warmup}')
        begin, end = settings.get('begin', 0), settings.get('end')
        if end is not None and end <= begin:
            raise UserError(f'{key}.end must be larger than its begin, {begin}, got {end}')
        if optimizer is not None:
            _build(
                *(PARAM_SCHEDULERS, key, settings),
                optimizer=optimizer,
                epoch_length=ANY_EPOCH_LENGTH,
            )
    for name, unit in (('begin_epoch', 'max_epochs'), ('begin_iter', 'max_iters')):
        last = cfg.train_cfg.get(unit)
        for key, hook in walk(cfg.get('custom_hooks'), 'custom_hooks'):
            if last is not None and hook.get(name, 0) > last:
                raise UserError(
                    f'{key}.{name} must be at most train_cfg.{unit}, {last}, got {hook[name]}'
                )


def unreached_schedules(cfg: Config) -> list[str]:
    """Sentences on parts of schedules that the training does not come to, and on those that rest.

    Neither ends a run: a short trial of a long recipe is such a one.
    """
    by_epoch = 'max_epochs' in cfg.train_cfg
    unit = 'max_epochs' if by_epoch else 'max_iters'
    last = cfg.train_cfg.get(unit)
    if last is None:
        # A loop of somebody else's, with its own idea of an end.
        return []
    found = []
    for key, settings in _schedulers(cfg):
        if settings.get('by_epoch', True) != by_epoch:
            if not by_epoch and not settings.get('convert_to_iter_based'):
                found.append(
                    f'{key} counts epochs, of which training by train_cfg.max_iters has one: it '
                    'takes no step; set by_epoch=False and its lengths in steps'
                )
            continue
        late = {name: _last_of(settings[name]) for name in SPANS if name in settings}
        found += [
            f'{key}.{name}={settings[name]} is not reached: train_cfg.{unit} is {last}'
            for name, value in late.items()
            if value > last or (name == 'begin' and value == last)
        ]
    return found


def _schedulers(cfg: Config) -> list[tuple[str, dict]]:
    return [
        (key, node)
        for key, node in walk(cfg.get('param_scheduler'), 'param_scheduler')
        if 'type' in node
    ]


def _last_of(value: float | list) -> float:
    """The largest number of a setting that may be a list."""
    return max(value, default=0) if isinstance(value, list | tuple) else value or 0


def _build_optimizer(cfg: Config) -> object | None:
    """The optimizer of the config for one weight; None where its wrapper is one of several."""
    settings = (cfg.get('optim_wrapper') or {}).get('optimizer')
    if not isinstance(settings, dict) or 'type' not in settings:
        return None
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    weight = nn.Linear(1, 1).weight
    return _build(OPTIMIZERS, 'optim_wrapper.optimizer', settings, params=[weight])


def _build(registry: Registry, key: str, settings: dict, **more: object) -> object:
    try:
        return registry.build(dict(settings), default_args=more)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        spans = [f'{key}.{name}={settings[name]}' for name in SPANS if name in settings]
        hint = f' (it has {", ".join(spans)})' if spans else ''
        raise UserError(f'{key} cannot be used: {reason}{hint}') from error

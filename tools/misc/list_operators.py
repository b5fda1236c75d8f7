"""Lists the operators of mmcv that the configs shipped with mmdetection and mmsegmentation call.

Each config's model is built without memory. From the classes of its parts on, the names that their
functions use are followed through the packages, down to what mmcv asks its compiled module for.
What a function may call counts as called.

Exit codes: 0 every operator has a stand-in, 1 one has none, 2 bad input.
"""

import mmvmamba  # noqa: F401  isort: skip  provides the stand-ins before mmcv's operators are imported

import argparse
import copy
import dis
import functools
import importlib
import inspect
import logging
import sys
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, TASK_UTILS, DefaultScope

from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.compat import mmcv_ops

PACKAGES = ('mmdet', 'mmseg')
# Functions of these are followed; everything else stands on its own.
FOLLOWED = ('mmcv.', 'mmdet.', 'mmseg.', 'mmpretrain.', 'mmengine.model')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/misc/list_operators.py mmdet --only guided_anchoring carafe',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'packages', nargs='*', help=f'packages with configs (default: {" ".join(PACKAGES)})'
    )
    parser.add_argument('--only', nargs='+', help='folders of configs (default: all)')
    parser.add_argument('--quiet', action='store_true', help='no line for each config')
    return parser.parse_args(argv)


def shipped_configs(package: str, folders: list[str] | None = None) -> list[Path]:
    """The experiments that a package carries, sorted."""
    module = importlib.import_module(package)
    root = Path(str(module.__file__)).parent / '.mim' / 'configs'
    if not root.is_dir():
        raise UserError(f'{package} carries no configs: there is no folder {root}')
    found = sorted(path for path in root.rglob('*.py') if '_base_' not in path.parts)
    absent = sorted(name for name in folders or () if not (root / name).is_dir())
    if absent:
        raise UserError(f'{root} has no folders {absent}')
    return [path for path in found if not folders or path.relative_to(root).parts[0] in folders]


def operators_of_config(cfg: Config, scope: str) -> set[str]:
    """The operators that the model of a config may call.

    Raises:
        Exception: Whatever building the model raises.
    """
    kinds = set()
    with DefaultScope.overwrite_default_scope(scope):
        for name in types_in(cfg.model.to_dict()):
            kinds.add(getattr(importlib.import_module('mmcv.ops'), name, None))
            kinds |= {registry.get(name) for registry in (MODELS, TASK_UTILS)}
        kinds |= parts_of(build(cfg.model))
    return {operator for kind in kinds - {None} for operator in operators_of(kind)}


def build(model: ConfigDict) -> torch.nn.Module:
    # Loaded while the model is built.
    for key in ('teacher_ckpt', 'teacher_config'):
        model.pop(key, None)
    try:
        with torch.device('meta'):
            return MODELS.build(copy.deepcopy(model))
    except (NotImplementedError, RuntimeError):
        # Some compute rates of drop path with tensors.
        return MODELS.build(model)


def types_in(node: object) -> Iterator[str]:
    """Every name that stands as ``type`` at any depth of a config, as those of nms do."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str):
            yield node['type'].rpartition('.')[2]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from types_in(value)


def parts_of(model: torch.nn.Module) -> set[type]:
    """The classes of a model's modules, and of what hangs on them, such as assigners."""
    kinds, seen, todo = set(), set(), list(model.modules())
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        kinds.add(type(part))
        values = vars(part).values() if hasattr(part, '__dict__') else ()
        todo += [value for value in values if is_followed(type(value))]
    return kinds


def is_followed(thing: object) -> bool:
    return (getattr(thing, '__module__', None) or '').startswith(FOLLOWED)


@functools.cache
def operators_of(start: object) -> frozenset[str]:
    """What a class or function, and all that it names, asks ``mmcv._ext`` for."""
    found, seen, todo = set(), set(), [start]
    while todo:
        thing = todo.pop()
        # `carafe = CARAFEFunction.apply`
        if isinstance(thing, types.MethodType | types.BuiltinMethodType):
            thing = thing.__self__
        if id(thing) in seen or not is_followed(thing):
            continue
        seen.add(id(thing))
        for function in functions_of(thing):
            found |= set(asked_for(function.__code__))
            names = names_in(function.__code__)
            todo += [function.__globals__[name] for name in names & function.__globals__.keys()]
    return frozenset(found)


def functions_of(thing: object) -> Iterator[types.FunctionType]:
    if not inspect.isclass(thing):
        function = inspect.unwrap(thing) if callable(thing) else None
        return iter([function] if inspect.isfunction(function) else [])
    values = [value for kind in thing.__mro__ if is_followed(kind) for value in vars(kind).values()]
    values = [getattr(value, '__func__', getattr(value, 'fget', value)) for value in values]
    return (inspect.unwrap(value) for value in values if inspect.isfunction(value))


def names_in(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


def asked_for(code: types.CodeType) -> Iterator[str]:
    """The attributes of ``ext_module`` that a function reads."""
    steps = list(dis.get_instructions(code))
    for step, following in pairwise(steps):
        if step.argval == 'ext_module' and following.opname in ('LOAD_ATTR', 'LOAD_METHOD'):
            yield following.argval


def callers_by_package(
    packages: Sequence[str], folders: list[str] | None, tell: Callable
) -> tuple[dict[str, dict[str, list[str]]], dict[str, str]]:
    """Asks every config.

    Returns:
        The names of the configs by operator and package, and why some could not be built.
    """
    callers: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    failed = {}
    for package in packages:
        importlib.import_module(f'{package}.utils').register_all_modules(init_default_scope=False)
        # Of the same types the same classes are made, whatever their sizes.
        known: dict[frozenset[str], set[str]] = {}
        for path in shipped_configs(package, folders):
            name = f'{package}/{path.parent.name}/{path.stem}'
            try:
                cfg = Config.fromfile(path)
                if 'model' not in cfg:
                    continue
                types = frozenset(types_in(cfg.model.to_dict()))
                if types not in known:
                    known[types] = operators_of_config(cfg, package)
            except Exception as error:  # noqa: BLE001  their configs, whatever is wrong with them
                failed[name] = f'{type(error).__name__}: {error}'.splitlines()[0]
                continue
            tell(name, *sorted(known[types]))
            for operator in known[types]:
                callers[operator][package].append(name)
    return callers, failed


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with user_errors():
        unknown = set(args.packages) - set(PACKAGES)
        if unknown:
            raise UserError(f'packages must be among {list(PACKAGES)}, got {sorted(unknown)}')
        logging.disable(logging.WARNING)
        warnings.simplefilter('ignore')
        tell = (lambda *_: None) if args.quiet else functools.partial(print, flush=True)
        callers, failed = callers_by_package(args.packages or PACKAGES, args.only, tell)
    print('\n| operator | stand-in | configs of mmdet | of mmseg | such as |')
    print('|---|---|---|---|---|')
    for operator, by_package in sorted(callers.items()):
        has = 'yes' if operator in mmcv_ops.__all__ else '**no**'
        counts = [len(by_package[package]) for package in PACKAGES]
        example = min((name for names in by_package.values() for name in names), key=len)
        print(f'| `{operator}` | {has} | {counts[0]} | {counts[1]} | {example} |')
    print(f'\n{len(failed)} configs could not be built:')
    for name, error in failed.items():
        print(f'  {name}: {error[:160]}')
    return int(not set(callers) <= set(mmcv_ops.__all__))


if __name__ == '__main__':
    sys.exit(main())

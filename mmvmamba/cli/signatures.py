"""The arguments of classes and functions, through the constructors of their bases."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

__all__ = ['Arguments', 'arguments_of', 'names_literally']


@dataclass(frozen=True)
class Arguments:
    """What a class or function takes.

    Args:
        names: The names of its arguments.
        is_complete: Whether it takes no others.
    """

    names: frozenset[str]
    is_complete: bool

    def with_names(self, names: Iterable[str]) -> 'Arguments':
        """Adds names."""
        return replace(self, names=self.names.union(names))


@cache
def arguments_of(target: Callable) -> Arguments:
    """Reads what a class or function takes.

    Where a constructor hands ``**kwargs`` on to that of its base and does nothing else with them,
    the arguments of the base count as well.
    """
    if not inspect.isclass(target):
        names, rest = _named(target)
        return Arguments(frozenset(names), rest is None)
    found: set[str] = set()
    for base in target.__mro__[:-1]:
        init = vars(base).get('__init__')
        if init is None and '__new__' not in vars(base):
            continue
        if not inspect.isfunction(init) or hasattr(init, '__wrapped__'):
            return Arguments(frozenset(found), is_complete=False)
        names, rest = _named(init)
        found |= names - {'self'}
        if rest is None:
            return Arguments(frozenset(found), is_complete=True)
        if not _hands_on(init, rest, base):
            return Arguments(frozenset(found), is_complete=False)
    return Arguments(frozenset(found), is_complete=True)


def names_literally(target: Callable, name: str) -> bool:
    """Tells whether the code around a class and its bases, or a function, has a name in quotes."""
    return any(f"'{name}'" in text for text in _sources(target))


@cache
def _sources(target: Callable) -> tuple[str, ...]:
    owners = target.__mro__[:-1] if inspect.isclass(target) else (target,)
    modules = {module for owner in owners if (module := inspect.getmodule(owner))}
    return tuple(inspect.getsource(module) for module in modules if hasattr(module, '__file__'))


def _named(function: Callable) -> tuple[set[str], str | None]:
    """The names of the arguments, and that of ``**kwargs`` if there are any."""
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    rest = [item.name for item in parameters if item.kind is inspect.Parameter.VAR_KEYWORD]
    return {item.name for item in parameters if item.kind in named}, rest[0] if rest else None


def _hands_on(init: Callable, rest: str, owner: type) -> bool:
    """Whether a constructor hands ``**rest`` on to that of its base, and does nothing else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except OSError:
        return False
    handed = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _is_base_constructor(call.func, owner.__name__)
        for keyword in call.keywords
        if keyword.arg is None
    ]
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == rest]
    return bool(uses) and all(use in handed for use in uses)


def _is_base_constructor(called: ast.expr, owner: str) -> bool:
    """Whether this is ``super().__init__`` or ``super(Owner, self).__init__``."""
    if not isinstance(called, ast.Attribute) or called.attr != '__init__':
        return False
    base = called.value
    if not isinstance(base, ast.Call) or getattr(base.func, 'id', None) != 'super':
        return False
    return not base.args or getattr(base.args[0], 'id', None) == owner

"""Runs a function when another module is first imported, without importing it."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ['when_imported']


def when_imported(name: str, action: Callable[[types.ModuleType], None]) -> None:
    """Runs ``action`` on a module now if it is imported, otherwise once it has been executed.

    Asked for the same again, it does nothing more.

    Args:
        name: Full name of the module.
        action: Called with the module.
    """
    module = sys.modules.get(name)
    if module is not None:
        action(module)
    elif _Finder(name, action) not in sys.meta_path:
        sys.meta_path.insert(0, _Finder(name, action))


@dataclass(frozen=True)
class _Finder(importlib.abc.MetaPathFinder):
    """Answers for one module, with the spec that the other finders have for it."""

    name: str
    action: Callable[[types.ModuleType], None]

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.action)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(
        self, loader: importlib.abc.Loader, action: Callable[[types.ModuleType], None]
    ) -> None:
        self.loader, self.action = loader, action

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        self.action(module)

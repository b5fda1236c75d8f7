"""Runs a function when another module is first imported, without importing it."""

import importlib.abc
import importlib.machinery
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
        # Those before this one have been asked already.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        self.finder.action(module)
        # Not before: a spec may be asked for without an import, and an import may fail.
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)

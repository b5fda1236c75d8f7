"""The module ``mmcv._ext`` where mmcv came without its compiled operators.

mmdet imports mmcv's operators when it is imported, whether it calls them or not. ``mmcv-lite`` has
none, and compiled wheels exist for few versions of torch. A finder put before Python's own answers
for ``mmcv._ext`` alone: it hands out the compiled module where there is one that loads, and
otherwise the stand-in of :mod:`mmvmamba.compat.mmcv_ops`. Nothing is decided before mmcv itself
asks, so importing ``mmvmamba`` costs nothing.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from copy import copy

__all__ = ['StandInModule', 'missing_op', 'mmcv_ops_status', 'provide_mmcv_ops']

EXT_NAME = 'mmcv._ext'
STAND_IN_ORIGIN = 'mmvmamba'


def missing_op(name: str) -> Callable:
    """Make the function that answers a call of an operator that only the compiled mmcv has.

    Args:
        name: the operator's name in ``mmcv._ext``.
    """

    def op(*args, **kwargs):
        raise NotImplementedError(
            f"mmcv's operator '{name}' needs the compiled mmcv: mmvmamba has no stand-in for it; "
            'install a compiled mmcv (>= 2.0, < 2.2) for your torch in place of mmcv-lite'
        )

    op.__name__ = op.__qualname__ = name
    return op


class StandInModule(types.ModuleType):
    """``mmcv._ext`` over torchvision and torch; an operator it lacks raises when it is called."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        from . import mmcv_ops

        op = getattr(mmcv_ops, name) if name in mmcv_ops.__all__ else missing_op(name)
        setattr(self, name, op)
        return op


class _StandInLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandInModule(spec.name, 'Stand-in for the compiled operators of mmcv, by mmvmamba.')

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run: operators are looked up when they are asked for."""


class _CompiledOrStandInLoader(importlib.abc.Loader):
    """Loads the compiled module; one that does not load becomes a warning and the stand-in."""

    def __init__(
        self, compiled: importlib.machinery.ModuleSpec, loader: importlib.abc.Loader
    ) -> None:
        self.compiled, self.loader = compiled, loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        try:
            return self.loader.create_module(self.compiled)
        except (ImportError, OSError) as error:
            warnings.warn(
                f'{self.compiled.origin} does not load ({error}); mmvmamba uses its stand-in for '
                'the operators of mmcv',
                stacklevel=2,
            )
            return _StandInLoader().create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        if not isinstance(module, StandInModule):
            self.loader.exec_module(module)


class _MmcvExtFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != EXT_NAME:
            return None
        compiled = importlib.machinery.PathFinder.find_spec(name, path, target)
        if compiled is None or compiled.loader is None:
            return importlib.machinery.ModuleSpec(name, _StandInLoader(), origin=STAND_IN_ORIGIN)
        spec = copy(compiled)
        spec.loader = _CompiledOrStandInLoader(compiled, compiled.loader)
        return spec


def provide_mmcv_ops() -> None:
    """Let ``import mmcv._ext`` find the stand-in where there is no compiled module that loads."""
    if not any(isinstance(finder, _MmcvExtFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MmcvExtFinder())


def mmcv_ops_status() -> tuple[str, str]:
    """Say which operators mmcv runs with.

    Returns:
        'compiled', 'stand-in' or 'none', and why.
    """
    if importlib.util.find_spec('mmcv') is None:
        return 'none', 'mmcv is not installed'
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        module = importlib.import_module(EXT_NAME)
    if not isinstance(module, StandInModule):
        return 'compiled', str(module.__file__)
    origin = module.__spec__ and module.__spec__.origin
    if origin == STAND_IN_ORIGIN:
        return 'stand-in', 'the installed mmcv has no compiled operators'
    reason = str(caught[0].message) if caught else f'{origin} does not load'
    return 'stand-in', reason

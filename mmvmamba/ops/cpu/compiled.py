"""Modules of compiled kernels, which import numba: at the first call alone."""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from .threads import find_kernel_cache

__all__ = ['has_numba', 'load_kernels']


@lru_cache(maxsize=1)
def has_numba() -> bool:
    return find_spec('numba') is not None


@lru_cache
def load_kernels(package: str | None) -> ModuleType:
    """The module ``numba_kernels`` of a package of this one."""
    find_kernel_cache()
    return import_module('.numba_kernels', package)

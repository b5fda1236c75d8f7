"""How kernels for the CPU are compiled."""

from types import FunctionType
from typing import Any

import numpy as np
from numba import njit

from .lanes import LANES
from .sources import sources_digest

__all__ = ['add_scaled', 'inline', 'kernel', 'summing']

# Without counting references to the arguments: the threads would share the counts, and spend half
# of their time on passing them to each other.
OPTIONS = dict(error_model='numpy', _nrt=False)

inline = njit(forceinline=True, **OPTIONS)
# A sum whose terms may be added in any, but a fixed order: only so does it become vector code.
summing = njit(forceinline=True, fastmath={'reassoc', 'contract'}, **OPTIONS)


def kernel(function: FunctionType) -> Any:
    """Compiles at the first call, and keeps the code on disk under the name of what it is made of.

    numba itself tells code in its cache apart by the kernel's own file and the CPU alone, not by
    the width of vectors or by the files of functions that become part of the kernel.
    """
    function.__qualname__ += f'_{LANES}_lanes_{sources_digest(function)}'
    return njit(nogil=True, cache=True, **OPTIONS)(function)


@inline
def add_scaled(target, to, source, start, length, weight):
    """Adds a row of a flat array, times a weight, to one of another; they do not overlap."""
    for i in range(length):
        target[np.uint64(to + i)] += weight * source[np.uint64(start + i)]

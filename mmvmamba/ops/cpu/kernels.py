"""How kernels for the CPU are compiled."""

from collections.abc import Callable

from numba import njit

from .lanes import PART

__all__ = ['inline', 'kernel']

# Without counting references to the arguments: the threads would share the counts, and spend half
# of their time on passing them to each other.
OPTIONS = dict(error_model='numpy', _nrt=False)

inline = njit(forceinline=True, **OPTIONS)


def kernel(function: Callable) -> Callable:
    """Compiles at the first call, and keeps the code on disk under the name of the vector width.

    numba itself tells code in its cache apart by the source file and the CPU alone.
    """
    function.__qualname__ += f'_{PART}_lanes'
    return njit(nogil=True, cache=True, **OPTIONS)(function)

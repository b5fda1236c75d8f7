"""Runs kernels on the threads of torch's own OpenMP.

Between two operators these spin for a while, ready for the next, where a thread of ours would wake
late, on a core that one of them holds. Without OpenMP, and after a fork, kernels run on a pool of
Python threads (they release the GIL). Numba's own layers are not used: some end the process when
they are used after a fork, the others when two threads use them.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from mmvmamba.ops.kernel_cache import private_temporary_folder

__all__ = ['find_kernel_cache', 'run_on_team']

# The threads of OpenMP do not survive a fork, and it would wait for them for ever.
_PROCESS = os.getpid()


def run_on_team(
    kernel: Callable,
    in_parallel: Callable,
    tasks: int,
    floats: int,
    *arguments: object,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Runs a kernel on the threads that torch would use; each takes tasks until none is left.

    Args:
        kernel: Called with a counter, the workspaces and the arguments, on each thread.
        in_parallel: Calls the kernel on a team of OpenMP.
        tasks: How many tasks there are: no more threads are used.
        floats: How many numbers a thread works on.
        arguments: Passed on.
        dtype: That of the workspace.
    """
    threads = max(min(torch.get_num_threads(), tasks), 1)
    workspace = torch.empty(threads, floats, dtype=dtype).numpy()
    packed = (np.zeros(2, np.int64), workspace, *arguments)
    openmp = _openmp() if threads > 1 and os.getpid() == _PROCESS else None
    if openmp is not None:
        in_parallel(openmp, threads, packed)
        return
    others = []
    if threads > 1:
        pool = _pool(os.getpid(), threads)
        others = [pool.submit(kernel, *packed) for _ in range(1, threads)]
    kernel(*packed)
    for other in others:
        # One that has not begun has nothing left to do.
        if not other.cancel():
            other.result()


def find_kernel_cache() -> None:
    """Names a folder for numba's compiled code where it would find none.

    It keeps code beside the source or in the user's cache folder; where it can write to neither it
    would refuse to compile.
    """
    if 'NUMBA_CACHE_DIR' not in os.environ and not any(
        os.access(folder, os.W_OK) for folder in (Path(__file__).parent, Path.home())
    ):
        os.environ['NUMBA_CACHE_DIR'] = str(private_temporary_folder('mmvmamba-numba'))


@lru_cache(maxsize=1)
def _openmp() -> int | None:
    """The address of ``GOMP_parallel`` in the library that torch itself is linked with.

    GNU's, LLVM's and Intel's OpenMP have it; a build of torch without OpenMP has not.
    """
    folder = Path(torch.__file__).parent / 'lib'
    for name in ('libtorch_cpu.so', 'libtorch_cpu.dylib'):
        if (folder / name).exists():
            entry = getattr(ctypes.CDLL(str(folder / name)), 'GOMP_parallel', None)
            return ctypes.cast(entry, ctypes.c_void_p).value if entry else None
    return None


@lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # Keyed by the process, because a pool does not survive a fork.
    return ThreadPoolExecutor(threads - 1, thread_name_prefix='kernels')

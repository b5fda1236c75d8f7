"""The kernels of the ``numba`` backend, imported by ``numba.py`` alone, at the first scan."""

from .numba_backward import Gradients, backward_in_parallel, backward_kernel, backward_workspace
from .numba_forward import Results, forward_in_parallel, forward_kernel, forward_workspace
from .numba_scan import BLOCK, Scan, num_tasks

__all__ = [
    'BLOCK', 'Gradients', 'Results', 'Scan', 'backward_in_parallel', 'backward_kernel',
    'backward_workspace', 'forward_in_parallel', 'forward_kernel', 'forward_workspace', 'num_tasks',
]  # fmt: skip

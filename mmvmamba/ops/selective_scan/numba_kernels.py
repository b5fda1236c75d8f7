"""The kernels of the ``numba`` backend, imported by ``numba.py`` alone, at the first scan."""

from mmvmamba.ops.cpu.lanes import LANES

from .numba_backward import backward_in_parallel, backward_kernel, backward_workspace
from .numba_forward import forward_in_parallel, forward_kernel, forward_workspace
from .numba_scan import Scan, num_tasks

__all__ = [
    'LANES', 'Scan', 'backward_in_parallel', 'backward_kernel', 'backward_workspace',
    'forward_in_parallel', 'forward_kernel', 'forward_workspace', 'num_tasks',
]  # fmt: skip

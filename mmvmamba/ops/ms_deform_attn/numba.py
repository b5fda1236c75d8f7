"""The ``numba`` backend: compiled kernels for the CPU, on the threads of torch.

Kernels are compiled at the first call and kept on disk.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from mmvmamba.ops.cpu.compiled import has_numba, load_kernels
from mmvmamba.ops.cpu.threads import run_on_team

from .reference import in_one_dtype

__all__ = ['backward', 'forward', 'unavailable_reason']

Shapes = Sequence[tuple[int, int]]


def unavailable_reason(device: torch.device, dtype: torch.dtype, channels: int) -> str | None:
    if device.type != 'cpu':
        return f'it runs on the CPU, got tensors on {device.type}'
    if not has_numba():
        return 'numba is not installed; install it with: pip install numba'
    return None


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    inputs = in_one_dtype(value, locations, weights)
    batch, queries, heads = locations.shape[:3]
    out = inputs[0].new_empty(batch, queries, heads * value.shape[3])
    # Queries are dealt out in blocks.
    _run('forward', batch * queries, shapes, *inputs, out)
    return out.to(value.dtype)


def backward(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, grad_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    arguments = (value, locations, weights)
    inputs = in_one_dtype(*arguments)
    grads = [torch.zeros_like(x) for x in inputs]
    upstream = grad_out.to(inputs[0].dtype)
    _run('backward', value.shape[0] * value.shape[2], shapes, *inputs, upstream, *grads)
    first, second, third = (g.to(x.dtype) for g, x in zip(grads, arguments, strict=True))
    return first, second, third


def _run(
    name: str, tasks: int, shapes: Shapes, value: Tensor, locations: Tensor, weights: Tensor,
    *others: Tensor,
) -> None:  # fmt: skip
    kernels = load_kernels(__package__)
    kernel, in_parallel = (getattr(kernels, f'{name}_{part}') for part in ('kernel', 'in_parallel'))
    starts = accumulate((height * width for height, width in shapes), initial=0)
    levels = np.array(
        [(*shape, start) for shape, start in zip(shapes, starts, strict=False)], np.int64
    )
    flat = [x.detach().contiguous().view(-1).numpy() for x in (locations, weights, *others)]
    run_on_team(
        *(kernel, in_parallel, tasks, 0, value.detach().contiguous().view(-1).numpy()),
        *((*value.shape, locations.shape[1], locations.shape[4]), levels),
        *(levels[:, :2].astype(flat[0].dtype), *flat),
        dtype=value.dtype,
    )

"""The ``numba`` backend: compiled kernels for the CPU, in float32 whatever the inputs.

Kernels are compiled at the first scan and kept on disk.
"""

from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmvmamba.ops.cpu.threads import find_kernel_cache, run_on_team

from .arguments import ScanArgs

if TYPE_CHECKING:
    from .numba_kernels import Scan

__all__ = ['backward', 'forward', 'unavailable_reason']

LOG2_E = 1.4426950408889634


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    if device.type != 'cpu':
        return f'it runs on the CPU, got tensors on {device.type}'
    if dtype == torch.float64:
        return 'it computes in float32, got float64; the torch backend computes in float64'
    if not _has_numba():
        return 'numba is not installed; install it with: pip install numba'
    return None


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    kernels = _kernels()
    scan = _scan(kernels, args, chunk_length)
    batch, directions, state, dim = args.batch, args.directions, args.state, args.dim
    accumulate = args.orders is not None
    allocate = torch.zeros if accumulate else torch.empty
    out = allocate(scan.splits, batch, args.length, dim)
    last_state = torch.empty(batch, directions, state, dim) if with_last_state else torch.empty(0)
    checkpoints = torch.empty(0)
    if chunk_length:
        chunks = -(-args.length // chunk_length)
        checkpoints = torch.empty(batch, directions, chunks, state, dim)
    _run(kernels, 'forward', scan, accumulate, *_flat(out, last_state, checkpoints))
    return (
        _sum_first(out).to(args.u.dtype),
        last_state.transpose(-1, -2).contiguous() if with_last_state else None,
        checkpoints if chunk_length else None,
    )


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    kernels = _kernels()
    scan = _scan(kernels, args, chunk_length)
    if grad_last_state is None:
        grad_last_state = torch.empty(0)
    else:
        grad_last_state = grad_last_state.transpose(-1, -2).contiguous()
    flat_grad_out, grad_out_strides = _span(grad_out[:, None])
    du, ddelta = (torch.zeros(scan.splits, *x.shape) for x in (args.u, args.delta))
    dB, dC = (torch.zeros(scan.splits * scan.blocks, *x.shape) for x in (args.B, args.C))
    owners = (args.batch, args.directions, scan.groups * scan.blocks)
    dA = torch.zeros(*owners, args.state, kernels.LANES)
    dD, ddelta_bias = (torch.zeros(*owners, kernels.LANES) for _ in range(2))
    _run(
        kernels, 'backward', scan, *_flat(checkpoints), flat_grad_out, grad_out_strides,
        *_flat(grad_last_state),
        *_flat(du), _step(args.u, 1), *_flat(ddelta), _step(args.delta, 1), *_flat(dA),
        *_flat(dB), _step(args.B, 1), *_flat(dC), _step(args.C, 1), *_flat(dD, ddelta_bias),
    )  # fmt: skip
    return (
        _sum_first(du).to(args.u.dtype),
        _sum_first(ddelta).to(args.delta.dtype),
        _unpacked(dA.sum(0).transpose(-1, -2), scan, args.A),
        _sum_tasks(dB, scan.splits).to(args.B.dtype),
        _sum_tasks(dC, scan.splits).to(args.C.dtype),
        None if args.D is None else _unpacked(dD.sum(0), scan, args.D),
        None if args.delta_bias is None else _unpacked(ddelta_bias.sum(0), scan, args.delta_bias),
    )


@lru_cache(maxsize=1)
def _has_numba() -> bool:
    return find_spec('numba') is not None


@lru_cache(maxsize=1)
def _kernels() -> ModuleType:
    find_kernel_cache()
    from . import numba_kernels

    return numba_kernels


def _scan(kernels: ModuleType, args: ScanArgs, chunk_length: int) -> 'Scan':
    """The arguments as the kernels take them."""
    lanes, directions, groups = kernels.LANES, args.directions, args.B.shape[3]
    if args.orders is None:
        orders = _in_order(args.length)
    else:
        low, high = args.orders.aminmax()
        if low < 0 or high >= args.length:
            raise ValueError(
                f'orders must hold tokens 0..{args.length - 1}, got {low.item()}..{high.item()}'
            )
        orders = args.orders.contiguous().numpy()
    shared_decay = (
        directions > 1
        and not args.order_all
        and all(_step(x, axis) == 0 for x, axis in ((args.delta, 1), (args.A, 0)))
        and (args.delta_bias is None or _step(args.delta_bias, 0) == 0)
    )
    group_dim = args.dim // groups
    blocks = -(-group_dim // lanes)
    tasks = args.batch * groups * blocks
    few = tasks < torch.get_num_threads() and not shared_decay
    bias = args.u.new_zeros(1, args.dim) if args.delta_bias is None else args.delta_bias
    empty = torch.empty(0)
    tensors: dict[str, np.ndarray | tuple[int, ...]] = {}
    for name in ('u', 'delta', 'B', 'C'):
        tensors[name], tensors[f'{name}_strides'] = _span(getattr(args, name))
    A = _packed((args.A.float() * LOG2_E).transpose(-1, -2), groups, lanes)
    D = empty if args.D is None else _packed(args.D.float(), groups, lanes)
    bias = _packed(bias.float(), groups, lanes)
    flat_A, flat_D, flat_bias = _flat(A, D, bias)
    scan: Scan = kernels.Scan(
        **tensors,
        A=flat_A,
        A_step=groups * blocks * _step(args.A, 0),
        D=flat_D,
        D_step=0 if args.D is None else groups * blocks * _step(args.D, 0),
        delta_bias=flat_bias,
        bias_step=groups * blocks * (args.delta_bias is not None and _step(args.delta_bias, 0)),
        orders=orders,
        delta_softplus=args.delta_softplus,
        order_all=args.order_all,
        shared_decay=shared_decay,
        splits=directions if few else 1,
        chunk_length=chunk_length,
        batch=args.batch,
        directions=directions,
        length=args.length,
        groups=groups,
        blocks=blocks,
        group_dim=group_dim,
        state=args.state,
    )
    return scan


def _run(kernels: ModuleType, name: str, scan: 'Scan', *buffers: object) -> None:
    kernel, in_parallel, floats = (
        getattr(kernels, f'{name}_{part}') for part in ('kernel', 'in_parallel', 'workspace')
    )
    tasks = kernels.num_tasks.py_func(scan)
    run_on_team(kernel, in_parallel, tasks, floats(scan), scan, *buffers)


@lru_cache(maxsize=16)
def _in_order(length: int) -> np.ndarray:
    return np.arange(length)[None]


def _step(x: Tensor, axis: int) -> int:
    """1 if ``x`` has its own values for each direction, 0 if all directions share them."""
    return int(x.shape[axis] > 1)


def _span(x: Tensor) -> tuple[np.ndarray, tuple[int, ...]]:
    """The flat float32 memory that ``x`` spans, and its strides, 0 along a shared direction."""
    x = x.detach().float()
    strides = list(x.stride())
    extent = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, strides, strict=True))
    if x.shape[1] == 1:
        strides[1] = 0
    return x.as_strided((extent if x.numel() else 0,), (1,)).numpy(), tuple(strides)


def _flat(*tensors: Tensor) -> list[np.ndarray]:
    return [x.detach().view(-1).numpy() for x in tensors]


def _sum_first(x: Tensor) -> Tensor:
    return x[0] if x.shape[0] == 1 else x.sum(0)


def _sum_tasks(x: Tensor, splits: int) -> Tensor:
    """Sums over directions first, as a task that has all of them does.

    How they are dealt to tasks depends on the number of threads; the sum must not.
    """
    return _sum_first(_sum_first(x.unflatten(0, (splits, -1))))


def _packed(x: Tensor, groups: int, lanes: int) -> Tensor:
    """(..., dim) cut into blocks of the groups, padded with zeros.

    (K, dim) gives (K, blocks, lanes), (K, state, dim) gives (K, blocks, state, lanes).
    """
    x = x.detach().unflatten(-1, (groups, -1))
    if missing := -x.shape[-1] % lanes:
        x = F.pad(x, (0, missing))
    blocks: Tensor = x.unflatten(-1, (-1, lanes)).flatten(-3, -2).movedim(-2, 1)
    # A copy: memory that numpy has seen cannot be resized any more, and that of a parameter is by
    # sharded training.
    return blocks.clone(memory_format=torch.contiguous_format)


def _unpacked(x: Tensor, scan: 'Scan', like: Tensor) -> Tensor:
    """Undoes ``_packed`` for (K, blocks, lanes[, state]), in the shape and dtype of ``like``."""
    x = x.unflatten(1, (scan.groups, scan.blocks)).flatten(2, 3)[:, :, : scan.group_dim]
    x = x.flatten(1, 2)
    if like.shape[0] == 1:
        x = x.sum(0, keepdim=True)
    return x.to(like.dtype).contiguous()

"""The ``numba`` backend: compiled kernels for the CPU, in float32 whatever the inputs.

Kernels are compiled at the first scan and kept on disk.
"""

from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmvmamba.ops.cpu.compiled import has_numba, load_kernels
from mmvmamba.ops.cpu.threads import run_on_team

from .arguments import ScanArgs

if TYPE_CHECKING:
    from .numba_kernels import Scan

__all__ = ['backward', 'forward', 'unavailable_reason']


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    if device.type != 'cpu':
        return f'it runs on the CPU, got tensors on {device.type}'
    if dtype == torch.float64:
        return 'it computes in float32, got float64; the torch backend computes in float64'
    if not has_numba():
        return 'numba is not installed; install it with: pip install numba'
    return None


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    kernels, dtype, args = load_kernels(__package__), args.u.dtype, _in_float32(args)
    scan = _scan(kernels, args, chunk_length)
    batch, directions, state, dim = args.batch, args.directions, args.state, args.dim
    allocate = torch.zeros if scan.accumulate else torch.empty
    out = allocate(scan.splits, batch, args.length, dim)
    last_state = torch.empty(batch, directions, state, dim) if with_last_state else None
    checkpoints = None
    if chunk_length:
        chunks = -(-args.length // chunk_length)
        checkpoints = torch.empty(batch, directions, chunks, state, dim)
    results = kernels.Results(*map(_address, (out, last_state, checkpoints)))
    _run(kernels, 'forward', scan, results)
    if last_state is not None:
        last_state = last_state.transpose(-1, -2).contiguous()
    return _sum_first(out).to(dtype), last_state, checkpoints


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    kernels, given, args = load_kernels(__package__), args, _in_float32(args)
    scan = _scan(kernels, args, chunk_length)
    grad_out, checkpoints = grad_out.float()[:, None], checkpoints.contiguous()
    if grad_last_state is not None:
        grad_last_state = grad_last_state.transpose(-1, -2).contiguous()
    allocate = torch.zeros if scan.accumulate else torch.empty
    du, ddelta = (allocate(scan.splits, *x.shape) for x in (args.u, args.delta))
    dB, dC = (torch.zeros(scan.splits * scan.blocks, *x.shape) for x in (args.B, args.C))
    dA = torch.empty(args.batch, args.directions, args.state, args.dim)
    dD, ddelta_bias = (torch.empty(args.batch, args.directions, args.dim) for _ in range(2))
    gradients = kernels.Gradients(
        checkpoints=_address(checkpoints),
        out=_address(grad_out),
        out_strides=_strides(grad_out, 1),
        last_state=_address(grad_last_state),
        du=_address(du),
        du_step=_step(args.u),
        ddelta=_address(ddelta),
        ddelta_step=_step(args.delta),
        dA=_address(dA),
        dB=_address(dB),
        dB_step=_step(args.B),
        dC=_address(dC),
        dC_step=_step(args.C),
        dD=_address(dD),
        ddelta_bias=_address(ddelta_bias),
    )
    _run(kernels, 'backward', scan, gradients)
    return (
        _sum_first(du).to(given.u.dtype),
        _sum_first(ddelta).to(given.delta.dtype),
        _sum_batch(dA.transpose(-1, -2), given.A),
        _sum_tasks(dB, scan.splits).to(given.B.dtype),
        _sum_tasks(dC, scan.splits).to(given.C.dtype),
        None if given.D is None else _sum_batch(dD, given.D),
        None if given.delta_bias is None else _sum_batch(ddelta_bias, given.delta_bias),
    )


def _in_float32(args: ScanArgs) -> ScanArgs:
    """What the kernels take addresses of, to be kept until they have returned."""
    D, delta_bias = (None if x is None else x.float() for x in (args.D, args.delta_bias))
    return args._replace(
        u=args.u.float(),
        delta=args.delta.float(),
        A=args.A.float(),
        B=args.B.float(),
        C=args.C.float(),
        D=D,
        delta_bias=delta_bias,
        orders=None if args.orders is None else args.orders.contiguous(),
    )


def _scan(kernels: ModuleType, args: ScanArgs, chunk_length: int) -> 'Scan':
    """The arguments as the kernels take them."""
    directions, groups = args.directions, args.B.shape[3]
    strides = {name: _strides(getattr(args, name), 1) for name in ('u', 'delta', 'B', 'C')}
    A_strides, D_strides, bias_strides = (
        (0, 0) if x is None else _strides(x, 0) for x in (args.A, args.D, args.delta_bias)
    )
    shared_decay = (
        directions > 1
        and not args.order_all
        and not (strides['delta'][1] or A_strides[0] or bias_strides[0])
    )
    group_dim = args.dim // groups
    blocks = -(-group_dim // kernels.BLOCK)
    few = args.batch * groups * blocks < torch.get_num_threads() and not shared_decay
    scan: Scan = kernels.Scan(
        u=_address(args.u),
        u_strides=strides['u'],
        delta=_address(args.delta),
        delta_strides=strides['delta'],
        B=_address(args.B),
        B_strides=strides['B'],
        C=_address(args.C),
        C_strides=strides['C'],
        A=_address(args.A),
        A_strides=A_strides,
        D=_address(args.D),
        D_strides=D_strides,
        delta_bias=_address(args.delta_bias),
        bias_strides=bias_strides,
        orders=_orders(args),
        delta_softplus=args.delta_softplus,
        order_all=args.order_all,
        accumulate=args.orders is not None,
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


def _orders(args: ScanArgs) -> np.ndarray:
    if args.orders is None:
        return _in_order(args.length)
    low, high = args.orders.aminmax()
    if low < 0 or high >= args.length:
        raise ValueError(
            f'orders must hold tokens 0..{args.length - 1}, got {low.item()}..{high.item()}'
        )
    return args.orders.numpy()


def _run(kernels: ModuleType, name: str, scan: 'Scan', tensors: tuple) -> None:
    kernel, in_parallel, floats = (
        getattr(kernels, f'{name}_{part}') for part in ('kernel', 'in_parallel', 'workspace')
    )
    tasks = kernels.num_tasks.py_func(scan)
    run_on_team(kernel, in_parallel, tasks, floats(scan), scan, tensors)


@lru_cache(maxsize=16)
def _in_order(length: int) -> np.ndarray:
    return np.arange(length)[None]


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _strides(x: Tensor, directions: int) -> tuple[int, ...]:
    """The strides of ``x``, 0 along its axis of directions if they share it."""
    strides = x.stride()
    if x.shape[directions] == 1:
        return *strides[:directions], 0, *strides[directions + 1 :]
    return strides


def _step(x: Tensor) -> int:
    """1 if ``x`` has its own values for each direction, 0 if all directions share them."""
    return int(x.shape[1] > 1)


def _sum_first(x: Tensor) -> Tensor:
    return x[0] if x.shape[0] == 1 else x.sum(0)


def _sum_tasks(x: Tensor, splits: int) -> Tensor:
    """Sums over directions first, as a task that has all of them does.

    How they are dealt to tasks depends on the number of threads; the sum must not.
    """
    return _sum_first(_sum_first(x.unflatten(0, (splits, -1))))


def _sum_batch(x: Tensor, like: Tensor) -> Tensor:
    """Sums (batch, directions, ...) in the shape and dtype of ``like``, (directions or 1, ...)."""
    x = x.sum(0)
    if like.shape[0] == 1 and x.shape[0] > 1:
        x = x.sum(0, keepdim=True)
    return x.to(like.dtype).contiguous()

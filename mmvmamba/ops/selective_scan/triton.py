"""The ``triton`` backend: CUDA and ROCm, and the CPU under Triton's interpreter (for tests)."""

import os
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from itertools import pairwise
from statistics import median
from types import ModuleType
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from mmvmamba.ops.triton_device import on_device, power_of_two, triton_unavailable_reason

from .arguments import ScanArgs

__all__ = ['backward', 'forward', 'gated_forward', 'unavailable_reason']

LARGEST_STATE = 256
# States of a channel block, states = channels * padded state size; steps of a tile; warps. The
# first serves where nothing is tuned. Wider blocks share B and C among more channels, narrower
# ones make more programs.
FORWARD_CONFIGS = ((256, 8, 1), (512, 4, 1), (128, 8, 1))
BACKWARD_CONFIGS = ((256, 4, 1), (128, 4, 1), (512, 4, 2))
# What is taken where nothing may be timed: by kernel, and whether the programs of the first config
# fill the device (or scan several directions each). Predicted for Hopper
# (docs/benchmarks/gpu_static.md), used on every generation.
SHIPPED = {
    ('forward', True): (256, 8, 1),
    ('forward', False): (128, 8, 1),
    ('backward', True): (256, 4, 1),
    ('backward', False): (256, 4, 1),
}
# 0: nothing is timed.
TUNE_VARIABLE = 'MMVMAMBA_TUNE'
# Programs of one warp for each multiprocessor: with fewer, long sequences are cut into segments.
WARPS_PER_PROCESSOR = 8
SEGMENT_STEPS = 64
# Segments cost a second pass, almost as long as the first.
FEWEST_SEGMENTS = 3
# Values that a program of the gate's kernel makes.
GATE_BLOCK = 1024
# Directions with one decay that share a program: four would not fit into registers.
SHARED_DIRECTIONS = (2, 3)

Result = TypeVar('Result')

_tuned: dict[tuple, tuple[int, int, int]] = {}


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    if dtype == torch.float64:
        return 'it computes in float32, got float64; the torch backend computes in float64'
    if state > LARGEST_STATE:
        return f'it takes state sizes up to {LARGEST_STATE}, got {state}'
    return triton_unavailable_reason(device)


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    out, last_state, checkpoints = _scan_directions(args, chunk_length, with_last_state)
    return _sum_directions(out)[:, 0].to(args.u.dtype), last_state, checkpoints


def gated_forward(args: ScanArgs, z: Tensor | None) -> Tensor:
    """The sum over directions times ``silu(z)``, both ``(batch, length, dim)``."""
    out, _, _ = _scan_directions(args, 0, False)
    if z is None:
        return _sum_directions(out)[:, 0].to(args.u.dtype)
    gated = args.u.new_empty(args.batch, args.length, args.dim)
    block = GATE_BLOCK
    with on_device(args.u.device):
        _kernels().selective_scan_gate_kernel[(-(-gated.numel() // block),)](
            out, z, gated, *z.stride(), args.batch, args.length, args.dim,
            DIRECTIONS=args.directions, BLOCK=block, num_warps=4,
        )  # fmt: skip
    return gated


def _scan_directions(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As ``forward``, without the sum over directions: ``(batch, directions, length, dim)``."""
    kernels = _kernels()
    args = _with_whole_rows(args)
    u, directions, length, dim = args.u, args.directions, args.length, args.dim
    shared = _shared_directions(args)
    plan = _plan(args, args.batch * directions // shared, chunk_length or SEGMENT_STEPS)
    after = None
    if plan.segments > 1:
        after = _carry(args, plan, args.u, args.B, reverse=False, last=None)
    # Directions are added up in float32, in a fixed order, afterwards.
    out_dtype = u.dtype if directions == 1 else torch.float32
    out = u.new_empty(args.batch, directions, length, dim, dtype=out_dtype)
    last_state = checkpoints = None
    if with_last_state:
        last_state = u.new_empty(args.batch, directions, dim, args.state, dtype=torch.float32)
    if chunk_length:
        shape = (args.batch, directions, -(-length // chunk_length), args.state, dim)
        checkpoints = u.new_empty(shape, dtype=torch.float32)

    def launch(width: int, steps: int, warps: int) -> None:
        # Long tiles of several directions spill, and compile for a minute.
        steps = min(steps, 4) if shared > 1 else steps
        dims = _dims(args, width)
        programs = args.batch * directions // shared * plan.segments * plan.groups
        kernels.selective_scan_fwd_kernel[(programs * -(-plan.group_dim // dims),)](
            u, args.delta, args.A, args.B, args.C, args.D, args.delta_bias, args.orders, after,
            out, last_state, checkpoints,
            *_strides(args),
            directions, length, plan.groups, plan.group_dim, plan.segments,
            plan.segment_length, chunk_length or plan.segment_length,
            state=args.state, SOFTPLUS=args.delta_softplus, ORDER_ALL=args.order_all, SHARED=shared,
            SHARED_PADDED=power_of_two(shared), STEPS=steps, DIMS=dims,
            STATE=power_of_two(args.state), num_warps=warps,
        )  # fmt: skip

    with on_device(u.device):
        _run_tuned('forward', args, plan, shared, FORWARD_CONFIGS, launch)
    return out, last_state, checkpoints


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    kernels = _kernels()
    args = _with_whole_rows(args)
    batch, directions, length, dim = args.batch, args.directions, args.length, args.dim
    plan = _plan(args, batch * directions, chunk_length)
    after = None
    if grad_last_state is not None:
        after = grad_last_state.float().contiguous()
    if plan.segments > 1:
        after = _carry(args, plan, grad_out.unsqueeze(1), args.C, reverse=True, last=after)

    def buffer(*shape: int, like: Tensor | None = None) -> Tensor:
        dtype = torch.float32
        if like is not None and like.shape[1] == directions:
            dtype = like.dtype  # nothing is left to be added up
        return args.u.new_empty(shape, dtype=dtype)

    rows = (batch, directions, plan.segments, dim)
    grad_u = buffer(batch, directions, length, dim, like=args.u)
    grad_delta = buffer(batch, directions, length, dim, like=args.delta)
    grad_A = buffer(*rows, args.state)
    grad_D = None if args.D is None else buffer(*rows)
    grad_bias = None if args.delta_bias is None else buffer(*rows)

    def launch(width: int, steps: int, warps: int) -> tuple[Tensor, Tensor]:
        dims, state = _dims(args, width), power_of_two(args.state)
        # Each split owns a block, or its sums would stay unwritten; all have as many, but for one.
        blocks = -(-plan.group_dim // dims)
        splits = min(blocks, max(1, plan.warps // (plan.units * warps)))
        splits = -(-blocks // -(-blocks // splits))
        matrix = (splits, batch, directions, length, plan.groups, args.state)
        grad_B, grad_C = buffer(*matrix), buffer(*matrix)
        programs = splits * plan.groups * plan.segments * batch * directions
        scratch = buffer(programs, -(-chunk_length // steps) * dims * state)
        kernels.selective_scan_bwd_kernel[(programs,)](
            args.u, args.delta, args.A, args.B, args.C, args.D, args.delta_bias, args.orders,
            checkpoints, after, grad_out,
            grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, scratch,
            *_strides(args), *grad_out.stride(),
            batch, directions, length, plan.groups, plan.group_dim, splits,
            plan.segments, plan.segment_length, chunk_length, scratch.shape[1],
            state=args.state, SOFTPLUS=args.delta_softplus, ORDER_ALL=args.order_all,
            STEPS=steps, DIMS=dims, STATE=state, num_warps=warps,
        )  # fmt: skip
        return grad_B, grad_C

    with on_device(args.u.device):
        grad_B, grad_C = _run_tuned('backward', args, plan, 1, BACKWARD_CONFIGS, launch)
    return (
        _to_shape(grad_u, args.u),
        _to_shape(grad_delta, args.delta),
        _to_shape(grad_A.sum((0, 2)), args.A, axis=0),
        _to_shape(grad_B.sum(0), args.B),
        _to_shape(grad_C.sum(0), args.C),
        _vector_gradient(grad_D, args.D),
        _vector_gradient(grad_bias, args.delta_bias),
    )


class _Plan(NamedTuple):
    """How a scan is cut: groups of channels with their own B and C, and segments of the length."""

    groups: int
    group_dim: int
    segments: int
    segment_length: int
    units: int  # programs of one channel block
    blocks: int  # blocks of channels in a unit, as wide as the first config has them
    warps: int  # warps that fill the device


def _plan(args: ScanArgs, rows: int, multiple: int) -> _Plan:
    groups, width = args.B.shape[3], _dims(args, BACKWARD_CONFIGS[0][0])
    warps = WARPS_PER_PROCESSOR * _processors(args.u.device)
    return _cut(rows, groups, args.dim // groups, args.length, multiple, width, warps)


@lru_cache(maxsize=256)
def _cut(
    rows: int, groups: int, group_dim: int, length: int, multiple: int, width: int, warps: int
) -> _Plan:
    blocks = -(-group_dim // width)
    wanted = warps // (rows * groups * blocks)
    if wanted < FEWEST_SEGMENTS:
        wanted = 1
    segment_length = -(-length // min(wanted, -(-length // multiple)))
    segment_length = -(-segment_length // multiple) * multiple
    segments = -(-length // segment_length)
    units = rows * groups * segments
    return _Plan(groups, group_dim, segments, segment_length, units, blocks, warps)


def _carry(
    args: ScanArgs, plan: _Plan, x: Tensor, matrix: Tensor, reverse: bool, last: Tensor | None
) -> Tensor:
    """The states before (or, in reverse, their gradients after) each segment."""
    kernels = _kernels()
    batch, directions, dim, state = args.batch, args.directions, args.dim, args.state
    shape = (batch, directions, plan.segments - 1, dim)
    states = args.u.new_empty(*shape, state, dtype=torch.float32)
    sums = args.u.new_empty(shape, dtype=torch.float32)
    carried = args.u.new_empty(batch, directions, plan.segments, dim, state, dtype=torch.float32)
    width, steps, warps = FORWARD_CONFIGS[0]
    dims = _dims(args, width)
    programs = batch * directions * (plan.segments - 1) * plan.groups
    with on_device(args.u.device):
        kernels.selective_scan_segment_kernel[(programs * -(-plan.group_dim // dims),)](
            x, args.delta, args.A, matrix, args.delta_bias, args.orders, states, sums,
            *_shared_strides(x, 1), *_shared_strides(args.delta, 1), _direction_stride(args.A),
            *_shared_strides(matrix, 1), *_vector_strides(args.delta_bias),
            directions, args.length, plan.groups, plan.group_dim, plan.segments,
            plan.segment_length,
            state=state, SOFTPLUS=args.delta_softplus, ORDER_ALL=args.order_all, REVERSE=reverse,
            STEPS=steps, DIMS=dims, STATE=power_of_two(state), num_warps=warps,
        )  # fmt: skip
        block = 256
        kernels.selective_scan_carry_kernel[(batch * directions * -(-dim * state // block),)](
            args.A, states, sums, carried, last, _direction_stride(args.A),
            directions, dim, plan.segments, state=state, REVERSE=reverse, BLOCK=block, num_warps=1,
        )  # fmt: skip
    return carried


def _with_whole_rows(args: ScanArgs) -> ScanArgs:
    """With A and orders as the kernels want them: contiguous, A also if directions share it."""
    A, orders = args.A, args.orders
    if A.stride()[1:] != (args.state, 1):
        A = A.contiguous()
    if orders is not None:
        orders = orders.contiguous()
    return args._replace(A=A, orders=orders)


def _shared_directions(args: ScanArgs) -> int:
    """How many directions one program scans: several only if all have the same decays."""
    decays = [args.delta.shape[1], args.A.shape[0]]
    if args.delta_bias is not None:
        decays.append(args.delta_bias.shape[0])
    if args.order_all or max(decays) > 1:
        return 1
    return next((n for n in SHARED_DIRECTIONS if args.directions % n == 0), 1)


def _run_tuned(
    kernel: str,
    args: ScanArgs,
    plan: _Plan,
    variant: int,
    configs: tuple[tuple[int, int, int], ...],
    launch: Callable[[int, int, int], Result],
) -> Result:
    """Launches with the fastest of the configs for inputs of this kind; returns what that returns.

    Nothing is timed where that would do harm: sums over channels follow the block width, so that
    they would differ from run to run (torch told to be deterministic) or from process to process
    (distributed training), and a graph that is being captured would hold what is timed. There a
    config that was timed before serves (in a graph alone), or that of the shipped table.
    """
    device = args.u.device
    if device.type != 'cuda' or torch.are_deterministic_algorithms_enabled():
        return launch(*configs[0])
    # Sizes by powers of two: images of many sizes must not tune again and again.
    sizes = (args.length.bit_length(), plan.units.bit_length(), plan.group_dim, args.state)
    kind = (device, args.u.dtype, args.orders is None, args.order_all, variant)
    key = (kernel, *kind, *sizes, args.u.stride(-1) == 1)
    if not _may_tune():
        return launch(*_shipped(kernel, plan, variant))
    if key not in _tuned:
        if torch.cuda.is_current_stream_capturing():
            return launch(*_shipped(kernel, plan, variant))
        _tuned[key] = min(configs, key=lambda config: _milliseconds(lambda: launch(*config)))
    return launch(*_tuned[key])


def _may_tune() -> bool:
    if os.environ.get(TUNE_VARIABLE, '1') == '0':
        return False
    is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not (is_distributed and torch.distributed.get_world_size() > 1)


def _shipped(kernel: str, plan: _Plan, variant: int) -> tuple[int, int, int]:
    """The config of the table for a GPU that the programs fill, or do not."""
    return SHIPPED[kernel, variant > 1 or plan.units * plan.blocks >= plan.warps]


def _milliseconds(run: Callable[[], object], warmup: int = 3, repeats: int = 10) -> float:
    """The median of a few runs. Allocates nothing but what the runs do."""
    for _ in range(warmup):
        run()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    events[-1].synchronize()
    times: list[float] = [x.elapsed_time(y) for x, y in pairwise(events)]
    return median(times)


def _strides(args: ScanArgs) -> tuple[int, ...]:
    return (
        *_shared_strides(args.u, 1), *_shared_strides(args.delta, 1), _direction_stride(args.A),
        *_shared_strides(args.B, 1), *_shared_strides(args.C, 1),
        *_vector_strides(args.D), *_vector_strides(args.delta_bias),
    )  # fmt: skip


def _shared_strides(x: Tensor, axis: int) -> list[int]:
    """Strides, 0 along the axis of directions where they share the tensor."""
    strides = list(x.stride())
    if x.shape[axis] == 1:
        strides[axis] = 0
    return strides


def _direction_stride(A: Tensor) -> int:
    return 0 if A.shape[0] == 1 else A.stride(0)


def _vector_strides(x: Tensor | None) -> list[int]:
    return [0, 0] if x is None else _shared_strides(x, 0)


def _to_shape(total: Tensor, like: Tensor, axis: int = 1) -> Tensor:
    """Adds up the directions that share ``like``, and casts to its dtype."""
    if like.shape[axis] == 1 and total.shape[axis] > 1:
        total = total.sum(axis, keepdim=True)
    return total.to(like.dtype)


def _vector_gradient(total: Tensor | None, like: Tensor | None) -> Tensor | None:
    """Adds up what batch elements and segments have of the gradient of D or of the bias."""
    if total is None or like is None:
        return None
    return _to_shape(total.sum((0, 2)), like, axis=0)


def _sum_directions(out: Tensor) -> Tensor:
    return out if out.shape[1] == 1 else out.sum(1, keepdim=True)


def _dims(args: ScanArgs, width: int) -> int:
    """Channels of a block that holds ``width`` states, but no more than a tile has room for."""
    group_dim = args.dim // args.B.shape[3]
    return max(1, min(width // max(power_of_two(args.state), 4), power_of_two(group_dim)))


@cache
def _processors(device: torch.device) -> int:
    if device.type != 'cuda':
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


@cache
def _kernels() -> ModuleType:
    return import_module('.triton_kernels', __package__)

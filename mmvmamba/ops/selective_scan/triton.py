"""The ``triton`` backend: CUDA and ROCm, and the CPU under Triton's interpreter (for tests)."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from mmvmamba.ops.triton_device import OPTIONS, on_device, power_of_two, triton_unavailable_reason

from .arguments import ScanArgs
from .triton_plan import (
    BACKWARD_CONFIGS,
    FORWARD_CONFIGS,
    SEGMENT_CONFIG,
    SEGMENT_STEPS,
    SHARED_FORWARD_CONFIGS,
    SINGLE_BACKWARD_CONFIGS,
    SINGLE_FORWARD_CONFIGS,
    WARPS_PER_PROCESSOR,
    Config,
    Plan,
    cut,
    run_tuned,
    split,
)

__all__ = ['backward', 'forward', 'gated_forward', 'unavailable_reason']

LARGEST_STATE = 256
# Tiles of a state of one number that registers hold.
SINGLE_STEPS = (4, 8, 16, 32)
# Tokens and channels that a program of the gate's kernel makes, and its warps.
GATE_TOKENS, GATE_DIMS, GATE_WARPS = 16, 64, 4
# Directions with one decay that share a program: four would not fit into registers.
SHARED_DIRECTIONS = (2, 3)


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
    return _sum_directions(args, out, None), last_state, checkpoints


def gated_forward(args: ScanArgs, z: Tensor | None) -> Tensor:
    """The sum over directions times ``silu(z)``, both ``(batch, length, dim)``."""
    out, _, _ = _scan_directions(args, 0, False)
    return _sum_directions(args, out, z)


def _sum_directions(args: ScanArgs, out: Tensor, z: Tensor | None) -> Tensor:
    if z is None and args.directions == 1:
        return out[:, 0]
    gated = args.u.new_empty(args.batch, args.length, args.dim)
    programs = args.batch * -(-args.length // GATE_TOKENS) * -(-args.dim // GATE_DIMS)
    with on_device(args.u.device):
        _kernels().selective_scan_gate_kernel[(programs,)](
            out, z, gated, *((0, 0, 0) if z is None else z.stride()), args.length, args.dim,
            DIRECTIONS=args.directions, TOKENS=GATE_TOKENS, DIMS=GATE_DIMS, num_warps=GATE_WARPS,
            **OPTIONS,
        )  # fmt: skip
    return gated


def _scan_directions(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As ``forward``, without the sum over directions: ``(batch, directions, length, dim)``."""
    args = _with_whole_rows(args)
    u, directions, length, dim = args.u, args.directions, args.length, args.dim
    is_single = _is_single(args, chunk_length)
    shared = 1 if is_single else _shared_directions(args)
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

    def launch(config: Config) -> None:
        dims = _dims(args, config.width)
        programs = args.batch * directions // shared * plan.segments * plan.groups
        kernel, constants = _forward_kernel(args, is_single, shared, chunk_length, config)
        kernel[(programs * -(-plan.group_dim // dims),)](
            u, args.delta, args.A, args.B, args.C, args.D, args.delta_bias, args.orders, after,
            out, last_state, checkpoints,
            *_strides(args),
            directions, length, plan.groups, plan.group_dim, plan.segments,
            plan.segment_length, chunk_length or plan.segment_length,
            SOFTPLUS=args.delta_softplus, ORDER_ALL=args.order_all, DIMS=dims,
            num_warps=config.warps, **constants, **OPTIONS,
        )  # fmt: skip

    with on_device(u.device):
        if is_single:
            run_tuned('single forward', args, plan, 1, SINGLE_FORWARD_CONFIGS, launch)
        else:
            configs = FORWARD_CONFIGS if shared == 1 else SHARED_FORWARD_CONFIGS
            run_tuned('forward', args, plan, shared, configs, launch)
    return out, last_state, checkpoints


def _is_single(args: ScanArgs, chunk_length: int) -> bool:
    """Whether the kernels for a state of one number serve: their tiles are chunks."""
    return args.state == 1 and chunk_length in (0, *SINGLE_STEPS)


def _is_wide(args: ScanArgs, *more: Tensor) -> bool:
    """Whether offsets within what a direction has of a batch element need more than 32 bits."""
    strides = [args.dim]
    for x in (args.u, args.delta, args.B, args.C, *(x.unsqueeze(1) for x in more)):
        strides += (abs(x.stride(2)), abs(x.stride(3)))
    reach = max(strides) * (args.length + args.dim)
    return reach >= 2**31


def _forward_kernel(
    args: ScanArgs, is_single: bool, shared: int, chunk_length: int, config: Config
) -> tuple[Any, dict[str, int]]:
    """A kernel and the constants that are its own."""
    steps = config.steps
    if is_single:
        steps = min(steps, chunk_length or steps)
        return _kernels().single_state_fwd_kernel, dict(STEPS=steps, WIDE=_is_wide(args))
    # Long tiles of several directions spill, and compile for a minute.
    steps = min(steps, 4) if shared > 1 else steps
    return _kernels().selective_scan_fwd_kernel, dict(
        state=args.state,
        SHARED=shared,
        SHARED_PADDED=power_of_two(shared),
        STEPS=steps,
        STATE=power_of_two(args.state),
        STAGES=config.stages,
    )


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
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
    tensors = (checkpoints, after, grad_out, grad_u, grad_delta, grad_A, grad_D, grad_bias)
    is_single = _is_single(args, chunk_length)

    def launch(config: Config) -> tuple[Tensor, Tensor]:
        return _launch_backward(args, plan, chunk_length, tensors, is_single, config)

    with on_device(args.u.device):
        if is_single:
            name, configs = 'single backward', SINGLE_BACKWARD_CONFIGS
        else:
            name, configs = 'backward', BACKWARD_CONFIGS
        grad_B, grad_C = run_tuned(name, args, plan, 1, configs, launch)
    return (
        _to_shape(grad_u, args.u),
        _to_shape(grad_delta, args.delta),
        _to_shape(grad_A.sum((0, 2)), args.A, axis=0),
        _to_shape(grad_B.sum(0), args.B),
        _to_shape(grad_C.sum(0), args.C),
        _vector_gradient(grad_D, args.D),
        _vector_gradient(grad_bias, args.delta_bias),
    )


def _launch_backward(
    args: ScanArgs, plan: Plan, chunk_length: int, tensors: tuple[Tensor | None, ...],
    is_single: bool, config: Config,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Launches the kernel with one config; returns its sums of the gradients of B and C."""
    kernels, dims, new = _kernels(), _dims(args, config.width), args.u.new_empty
    steps = chunk_length if is_single else config.steps
    blocks = -(-plan.group_dim // dims)
    splits = blocks if is_single else split(plan, blocks, config.warps)
    matrix = (splits, args.batch, args.directions, args.length, plan.groups, args.state)
    grad_B, grad_C = new(matrix, dtype=torch.float32), new(matrix, dtype=torch.float32)
    programs = splits * plan.groups * plan.segments * args.batch * args.directions
    inputs = (args.u, args.delta, args.A, args.B, args.C, args.D, args.delta_bias, args.orders)
    grad_out = tensors[2]
    assert grad_out is not None
    given = (*inputs, *tensors, grad_B, grad_C, *_strides(args), *grad_out.stride())
    sizes = (args.batch, args.directions, args.length, plan.groups, plan.group_dim)
    flags = dict(SOFTPLUS=args.delta_softplus, ORDER_ALL=args.order_all, STEPS=steps, DIMS=dims)
    if is_single:
        kernels.single_state_bwd_kernel[(programs,)](
            *given, *sizes, plan.segments, plan.segment_length, **flags,
            WIDE=_is_wide(args, grad_out), num_warps=config.warps, **OPTIONS,
        )  # fmt: skip
        return grad_B, grad_C
    state = power_of_two(args.state)
    scratch = new(programs, -(-chunk_length // steps) * dims * state, dtype=torch.float32)
    kernels.selective_scan_bwd_kernel[(programs,)](
        *given, scratch, *sizes, splits, plan.segments, plan.segment_length, chunk_length,
        scratch.shape[1], state=args.state, STATE=state, STAGES=config.stages, **flags,
        num_warps=config.warps, **OPTIONS,
    )  # fmt: skip
    return grad_B, grad_C


def _plan(args: ScanArgs, rows: int, multiple: int) -> Plan:
    groups, width = args.B.shape[3], _dims(args, BACKWARD_CONFIGS[0].width)
    warps = WARPS_PER_PROCESSOR * _processors(args.u.device)
    sizes = (rows, groups, args.dim // groups, args.length, multiple, width, warps)
    return cut(*sizes, args.state == 1)


def _carry(
    args: ScanArgs, plan: Plan, x: Tensor, matrix: Tensor, reverse: bool, last: Tensor | None
) -> Tensor:
    """The states before (or, in reverse, their gradients after) each segment."""
    kernels = _kernels()
    batch, directions, dim, state = args.batch, args.directions, args.dim, args.state
    shape = (batch, directions, plan.segments - 1, dim)
    states = args.u.new_empty(*shape, state, dtype=torch.float32)
    sums = args.u.new_empty(shape, dtype=torch.float32)
    carried = args.u.new_empty(batch, directions, plan.segments, dim, state, dtype=torch.float32)
    config = SEGMENT_CONFIG
    dims = _dims(args, config.width)
    programs = batch * directions * (plan.segments - 1) * plan.groups
    with on_device(args.u.device):
        kernels.selective_scan_segment_kernel[(programs * -(-plan.group_dim // dims),)](
            x, args.delta, args.A, matrix, args.delta_bias, args.orders, states, sums,
            *_shared_strides(x, 1), *_shared_strides(args.delta, 1), _direction_stride(args.A),
            *_shared_strides(matrix, 1), *_vector_strides(args.delta_bias),
            directions, args.length, plan.groups, plan.group_dim, plan.segments,
            plan.segment_length,
            state=state, SOFTPLUS=args.delta_softplus, ORDER_ALL=args.order_all, REVERSE=reverse,
            STEPS=config.steps, DIMS=dims, STATE=power_of_two(state), STAGES=config.stages,
            num_warps=config.warps, **OPTIONS,
        )  # fmt: skip
        block = 256
        kernels.selective_scan_carry_kernel[(batch * directions * -(-dim * state // block),)](
            args.A, states, sums, carried, last, _direction_stride(args.A),
            directions, dim, plan.segments, state=state, REVERSE=reverse, BLOCK=block, num_warps=1,
            **OPTIONS,
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

"""``selective_scan`` and the two operators, forward and backward, that PyTorch sees."""

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvmamba.ops.flops import register_scan_formulas
from mmvmamba.ops.fused import evaluates
from mmvmamba.ops.symbolic import one_call

from .arguments import ScanArgs, canonical_arguments, check_values
from .dispatch import SCAN, chunk_length_for, debug_mode, without_autocast
from .export import plain_scan
from .gated import GATED_DEVICES, gated_scan

__all__ = ['scan_decompositions', 'selective_scan']

_ARGUMENTS = (
    'Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, '
    'Tensor? orders, bool delta_softplus, bool order_all'
)

# The sum over directions, the last states, the checkpoints.
Outputs = tuple[Tensor, Tensor, Tensor]


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: Literal[False] = False,
    *,
    channels_last: bool = False,
    orders: Tensor | None = None,
    order_all: bool = True,
    backend: str | None = None,
) -> Tensor: ...


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    channels_last: bool = False,
    orders: Tensor | None = None,
    order_all: bool = True,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...


@one_call
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    channels_last: bool = False,
    orders: Tensor | None = None,
    order_all: bool = True,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective state-space scan of Mamba, along one or several orders of the tokens.

    For each channel, with h = 0 before the first step:
    ``h[t] = exp(delta[t] * A) * h[t-1] + delta[t] * u[t] * B[t]`` and
    ``y[t] = C[t] . h[t] + D * u[t]``; ``z`` gates the result with ``silu(z)``. The state is kept in
    float32 (float64 if ``u`` is) under any autocast. No layout is copied.

    Args:
        u: Input, ``(batch, dim, length)``, or ``(batch, length, dim)`` with ``channels_last``. With
            ``orders`` also one input per direction: the axis K (directions) comes second.
        delta: Step size, as ``u`` (shared or per direction, whatever ``u`` is).
        A: State matrix, ``(dim, state)``; with ``orders`` also ``(K, dim, state)``. Real, finite.
        B: Input matrix, ``(batch, state, length)`` or ``(batch, groups, state, length)``; with
            ``channels_last`` ``(batch, length, state)`` or ``(batch, length, groups, state)``.
            With ``orders``, 4 dimensions mean one matrix per direction, K second, and 5 mean K and
            groups: ``(batch, K, groups, state, length)`` or ``(batch, K, length, groups, state)``.
        C: Output matrix, as ``B``.
        D: Skip connection, ``(dim,)``; with ``orders`` also ``(K, dim)``.
        z: Gate of the result, shaped as the result.
        delta_bias: Added to ``delta``, as ``D``.
        delta_softplus: Whether softplus is applied to ``delta + delta_bias``.
        return_last_state: Whether the states after the last step are returned too.
        channels_last: Whether channels are the last axis of ``u``, ``delta``, ``z``, the result.
        orders: ``(K, length)``, int64: ``orders[k, t]`` is the token that direction k visits at
            step t. Each row must be a permutation (checked in debug mode, ``MMVMAMBA_DEBUG=1``).
        order_all: Whether ``delta``, ``B`` and ``C`` lie at the tokens' own places and follow the
            orders too, or (False) are indexed by the step, so that only ``u`` follows.
        backend: ``'auto'``, ``'triton'``, ``'numba'``, ``'mamba_ssm'``, ``'hub'``, ``'torch'``, or,
            for plain operators that a tracer sees one by one, ``'export'``. None: what
            ``scan_backend`` or ``MMVMAMBA_SCAN_BACKEND`` says, else ``'auto'``.

    Returns:
        The sum over directions of the outputs, each at its token's own place, in the dtype of
        ``u``: ``(batch, dim, length)``, or ``(batch, length, dim)`` with ``channels_last``. With
        ``return_last_state`` also the last states in at least float32, ``(batch, dim, state)``, or
        ``(batch, K, dim, state)`` with ``orders``.

    Raises:
        ValueError: if an argument does not fit.
        RuntimeError: if the backend asked for cannot run here.
    """
    args = canonical_arguments(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, channels_last, orders, order_all
    )
    if not return_last_state and _may_gate(u, backend):
        gate = z if channels_last or z is None else z.transpose(1, 2)
        out = gated_scan(args, gate, backend)
        return out if channels_last else out.transpose(1, 2)
    out, last_state = _scan(args, backend, return_last_state)
    if not channels_last:
        out = out.transpose(1, 2)
    if z is not None:
        out = out * F.silu(z.to(out.dtype))
    if not return_last_state:
        return out
    return out, last_state if orders is not None else last_state[:, 0]


def _may_gate(u: Tensor, backend: str | None) -> bool:
    """Whether the operator without a gradient may serve; plain operators are none."""
    return u.device.type in GATED_DEVICES and evaluates() and SCAN.requested(backend) != 'export'


def _scan(args: ScanArgs, backend: str | None, with_last_state: bool) -> tuple[Tensor, Tensor]:
    """The output and, if it is asked for, the last state."""
    # What torch.compile traces asks for a backend when it runs.
    is_compiling = torch.compiler.is_dynamo_compiling()
    if not is_compiling and SCAN.requested(backend) == 'export':
        with without_autocast(args.u.device):
            return plain_scan(args)
    # Neither slices nor properties of the arguments: torch.compile before 2.10 follows none.
    needs_grad = torch.is_grad_enabled() and any(
        isinstance(x, Tensor) and x.requires_grad for x in args
    )
    chunk_length = chunk_length_for(args.u.device, args.A.shape[2]) if needs_grad else 0
    operator = _for_functorch(torch.ops.mmvmamba.selective_scan, _FunctionalScan)
    outputs: Outputs = operator(*args, backend, chunk_length, with_last_state)
    return outputs[:2]


@torch.library.custom_op(
    'mmvmamba::selective_scan',
    mutates_args=(),
    schema=(
        f'({_ARGUMENTS}, str? backend, int chunk_length, bool with_last_state) '
        '-> (Tensor, Tensor, Tensor)'
    ),
)
def _forward_op(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, orders: Tensor | None, delta_softplus: bool, order_all: bool,
    backend: str | None, chunk_length: int, with_last_state: bool,
) -> Outputs:  # fmt: skip
    """A backend's forward; what was not asked for is an empty tensor."""
    args = ScanArgs(u, delta, A, B, C, D, delta_bias, orders, delta_softplus, order_all)
    check_values(args, debug_mode())
    module = SCAN.select(backend, u.device, u.dtype, args.state)
    with without_autocast(u.device):
        results = module.forward(args, chunk_length, with_last_state)
    out, last_state, checkpoints = (_or_empty(x, u) for x in results)
    return out, last_state, checkpoints


@_forward_op.register_fake
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, orders: Tensor | None, delta_softplus: bool, order_all: bool,
    backend: str | None, chunk_length: int, with_last_state: bool,
) -> Outputs:  # fmt: skip
    args = ScanArgs(u, delta, A, B, C, D, delta_bias, orders, delta_softplus, order_all)
    dtype, batch, directions = args.compute_dtype, args.batch, args.directions
    out = u.new_empty(batch, args.length, args.dim)
    last_state = checkpoints = u.new_empty(0)
    if with_last_state:
        last_state = u.new_empty(batch, directions, args.dim, args.state, dtype=dtype)
    if chunk_length:
        chunks = (args.length + chunk_length - 1) // chunk_length
        checkpoints = u.new_empty(batch, directions, chunks, args.state, args.dim, dtype=dtype)
    return out, last_state, checkpoints if chunk_length else u.new_empty(0)


@torch.library.custom_op(
    'mmvmamba::selective_scan_backward',
    mutates_args=(),
    schema=(
        f'({_ARGUMENTS}, str? backend, int chunk_length, Tensor checkpoints, Tensor grad_out, '
        'Tensor? grad_last_state) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)'
    ),
)
def _backward_op(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, orders: Tensor | None, delta_softplus: bool, order_all: bool,
    backend: str | None, chunk_length: int, checkpoints: Tensor, grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """A backend's backward; the gradient of an absent argument is an empty tensor."""
    args = ScanArgs(u, delta, A, B, C, D, delta_bias, orders, delta_softplus, order_all)
    module = SCAN.select(backend, u.device, u.dtype, args.state)
    with without_autocast(u.device):
        grads = module.backward(args, chunk_length, checkpoints, grad_out, grad_last_state)
    return tuple(_or_empty(x, u) for x in grads)


@_backward_op.register_fake
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, orders: Tensor | None, delta_softplus: bool, order_all: bool,
    backend: str | None, chunk_length: int, checkpoints: Tensor, grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    return tuple(
        u.new_empty(0) if x is None else x.new_empty(x.shape)
        for x in (u, delta, A, B, C, D, delta_bias)
    )


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    (
        *tensors,
        ctx.delta_softplus,
        ctx.order_all,
        backend,
        ctx.chunk_length,
        ctx.with_last_state,
    ) = inputs
    ctx.backend = SCAN.requested_by_forward(backend, output[0])
    ctx.save_for_backward(*tensors, output[2])


def _backward(
    ctx: Any, grad_out: Tensor, grad_last_state: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    *tensors, checkpoints = ctx.saved_tensors
    grads = _for_functorch(torch.ops.mmvmamba.selective_scan_backward, _FunctionalBackward)(
        *tensors, ctx.delta_softplus, ctx.order_all, ctx.backend, ctx.chunk_length, checkpoints,
        grad_out, grad_last_state if ctx.with_last_state else None,
    )  # fmt: skip
    # An absent argument gets no gradient; neither do orders, flags and the backend.
    grads = [None if x is None else grad for x, grad in zip(tensors, grads, strict=False)]
    return (*grads, *[None] * 6)


_forward_op.register_autograd(_backward, setup_context=_save_for_backward)
register_scan_formulas()


class _FunctionalScan(torch.autograd.Function):
    """The operator and its gradient for ``torch.func``, which does not take that of operators."""

    @staticmethod
    def forward(*inputs: Any) -> Outputs:
        outputs: Outputs = torch.ops.mmvmamba.selective_scan(*inputs)
        return outputs

    setup_context = staticmethod(_save_for_backward)
    backward = staticmethod(_backward)


class _FunctionalBackward(torch.autograd.Function):
    """The gradient for ``torch.func``, which has no gradient of its own."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        grads: tuple[Tensor, ...] = torch.ops.mmvmamba.selective_scan_backward(*inputs)
        return grads

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keeps nothing."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[None, ...]:
        raise NotImplementedError(
            "second derivatives of a selective scan are those of backend='export' alone"
        )


def _for_functorch(
    operator: Callable[..., Any], function: type[torch.autograd.Function]
) -> Callable[..., Any]:
    is_compiling = torch.compiler.is_dynamo_compiling()
    if not is_compiling and torch._C._are_functorch_transforms_active():
        return function.apply
    return operator


def scan_decompositions() -> dict[Any, Callable[..., Outputs]]:
    """The scan in plain operators for ``ExportedProgram.run_decompositions``.

    ``torch.export`` keeps the scan as one operator, which only this package runs; a program that
    was exported without gradients can be taken apart afterwards:
    ``program.run_decompositions(scan_decompositions())``.
    """
    return {torch.ops.mmvmamba.selective_scan.default: _plain_outputs}


def _plain_outputs(*inputs: Any) -> Outputs:
    *fields, _backend, chunk_length, with_last_state = inputs
    if chunk_length:
        raise ValueError(
            'a scan that was exported for training has no form in plain operators; export the '
            'model under torch.no_grad()'
        )
    args = ScanArgs(*fields)
    out, last_state = plain_scan(args)
    nothing = args.u.new_empty(0)
    return out, last_state if with_last_state else nothing, nothing


def _or_empty(x: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if x is None else x

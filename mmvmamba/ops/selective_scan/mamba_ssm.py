"""The ``mamba_ssm`` backend: an adapter to the CUDA kernel of the installed ``mamba_ssm`` package.

The kernel knows one direction, channels-first: orders are gathered and directions run one by one.
It is used only after a short self-test against the reference in this process.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module

import torch
from torch import Tensor

from .arguments import ScanArgs
from .reference import selective_scan_ref

__all__ = [
    'backward',
    'backward_by',
    'fault_of',
    'forward',
    'forward_by',
    'refusal',
    'unavailable_reason',
]

INSTALL_COMMAND = 'pip install mamba-ssm --no-build-isolation'

# Where the package's versions export the function.
LAYOUTS = ('mamba_ssm.ops.selective_scan_interface', 'mamba_ssm')

NAMES = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
Inputs = Sequence[Tensor | None]  # in the order of the names


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    reason = refusal(device, dtype, state) or _load()[1]
    return reason or _self_test(str(device))


def refusal(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    """Why the kernel, wherever it comes from, does not take such a scan; None if it does."""
    if device.type != 'cuda':
        return f'it runs on CUDA devices, got tensors on {device.type}'
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f'its kernel takes float32, float16 and bfloat16, got {dtype}'
    if state > 256:
        return f'its kernel takes states of up to 256, got {state}'
    return None


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return forward_by(_scan_function(), args, chunk_length, with_last_state)


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor | None, ...]:
    return backward_by(_scan_function(), args, grad_out, grad_last_state)


def forward_by(
    scan: Callable, args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """A backend's forward pass by a function like the package's."""
    out = args.u.new_zeros(args.batch, args.length, args.dim, dtype=torch.float32)
    last_states = []
    for order, _, inputs in _directions(args):
        y, last_state = _call(scan, args, inputs)
        _add_at(out, order, y.transpose(1, 2))
        last_states.append(last_state)
    checkpoints = None
    if chunk_length:
        # The backward pass runs the package's own kernels and needs no states of ours. NaN, so that
        # another backend could not take them for states.
        chunks = -(-args.length // chunk_length)
        shape = (args.batch, args.directions, chunks, args.state, args.dim)
        checkpoints = out.new_full(shape, float('nan'))
    return (
        out.to(args.u.dtype),
        torch.stack(last_states, dim=1).float() if with_last_state else None,
        checkpoints,
    )


def backward_by(
    scan: Callable, args: ScanArgs, grad_out: Tensor, grad_last_state: Tensor | None
) -> tuple[Tensor | None, ...]:
    """A backend's backward pass by a function like the package's."""
    if grad_last_state is not None and grad_last_state.any():
        raise RuntimeError(
            "mamba_ssm's kernel has no gradient of the last state; "
            "use backend='triton' or backend='torch'"
        )
    named = args._asdict()
    grads = {
        name: named[name].new_zeros(named[name].shape, dtype=torch.float32)
        for name in NAMES
        if named[name] is not None
    }
    for k, (order, place, inputs) in enumerate(_directions(args)):
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        with torch.enable_grad():
            y, _ = _call(scan, args, leaves)
        dy = grad_out if order is None else grad_out[:, order]
        present = [x for x in leaves if x is not None]
        found = iter(torch.autograd.grad(y, present, dy.transpose(1, 2).contiguous().to(y.dtype)))
        for name, leaf in zip(NAMES, leaves, strict=True):
            if leaf is None:
                continue
            grad, total = next(found).float(), grads[name]
            if name in ('A', 'D', 'delta_bias'):
                total[k % total.shape[0]] += grad
                continue
            # From (batch, ..., length) to the canonical (batch, length, ...).
            grad = grad.movedim(-1, 1)
            _add_at(total[:, k % total.shape[1]], order if name == 'u' else place, grad)
    return tuple(
        None if named[name] is None else grads[name].to(named[name].dtype) for name in NAMES
    )


def _directions(args: ScanArgs) -> Iterator[tuple[Tensor | None, Tensor | None, Inputs]]:
    """For each direction: its order, the order of delta, B and C, and the package's arguments."""
    dtype = args.u.dtype

    def sequence(x: Tensor, k: int, order: Tensor | None) -> Tensor:
        x = x[:, k % x.shape[1]]
        x = x if order is None else x[:, order]
        return x.movedim(1, -1).to(dtype).contiguous()

    def parameter(x: Tensor | None, k: int) -> Tensor | None:
        return None if x is None else x[k % x.shape[0]].float().contiguous()

    for k in range(args.directions):
        order = None if args.orders is None else args.orders[k]
        place = order if args.order_all else None
        yield (
            order,
            place,
            (
                sequence(args.u, k, order),
                sequence(args.delta, k, place),
                parameter(args.A, k),
                sequence(args.B, k, place),
                sequence(args.C, k, place),
                parameter(args.D, k),
                parameter(args.delta_bias, k),
            ),
        )


def _call(scan: Callable, args: ScanArgs, inputs: Inputs) -> tuple[Tensor, Tensor]:
    *sequences, D, delta_bias = inputs
    results: tuple[Tensor, Tensor] = scan(
        *sequences,
        D=D,
        z=None,
        delta_bias=delta_bias,
        delta_softplus=args.delta_softplus,
        return_last_state=True,
    )
    return results


def _add_at(total: Tensor, order: Tensor | None, value: Tensor) -> None:
    # Each token occurs once in an order, so that this is no race.
    if order is None:
        total += value
    else:
        total[:, order] += value


def _scan_function() -> Callable:
    """The package's function, after ``unavailable_reason`` has found it."""
    scan, reason = _load()
    assert scan is not None, reason
    return scan


@lru_cache(maxsize=1)
def _load() -> tuple[Callable | None, str | None]:
    """The package's function, or the reason why there is none."""
    reasons = []
    for layout in LAYOUTS:
        try:
            module = import_module(layout)
        except (ImportError, OSError) as error:
            reasons.append(f'{layout}: {error}')
            continue
        scan = getattr(module, 'selective_scan_fn', None)
        if scan is not None:
            return scan, None
        reasons.append(f'{layout} has no selective_scan_fn')
    return None, f'{"; ".join(reasons)}; install it with: {INSTALL_COMMAND}'


@lru_cache(maxsize=8)
def _self_test(device: str) -> str | None:
    return fault_of(_scan_function(), device, INSTALL_COMMAND)


def fault_of(scan: Callable, device: str, install_command: str) -> str | None:
    """Compares a small scan with the reference; returns what is wrong, or None."""
    generator = torch.Generator().manual_seed(0)
    u, delta, B, C = (
        torch.randn(*shape, generator=generator).to(device)
        for shape in ((2, 1, 37, 8), (2, 1, 37, 8), (2, 1, 37, 1, 16), (2, 1, 37, 1, 16))
    )
    A = -torch.rand(1, 8, 16, generator=generator).to(device)
    args = ScanArgs(u, delta, A, B, C, delta_softplus=True)
    expected, _ = selective_scan_ref(u, delta, A, B, C, delta_softplus=True)
    try:
        actual, _, _ = forward_by(scan, args, 0, False)
    except (RuntimeError, TypeError, ValueError, AttributeError, NameError) as error:
        return f'its self-test failed: {error}; install it anew with: {install_command}'
    difference = ((actual - expected).abs().max() / expected.abs().max()).item()
    if not difference < 1e-4:
        return f'its self-test differs from the reference by {difference:.2g}'
    return None

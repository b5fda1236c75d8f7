"""The arguments of a scan in the one layout that every backend takes, and the checks of what a user
passed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

__all__ = ['ScanArgs', 'canonical_arguments', 'check_values']


class ScanArgs(NamedTuple):
    """One scan in canonical layout, with the fields and shapes of ``selective_scan_ref``.

    Tensors are views of what the user passed: any strides, any mix of float dtypes. An axis of size
    1 where K (the number of directions) is expected means that all directions share the tensor. The
    computation runs in ``compute_dtype``.
    """

    u: Tensor  # (batch, K or 1, length, dim)
    delta: Tensor  # (batch, K or 1, length, dim)
    A: Tensor  # (K or 1, dim, state)
    B: Tensor  # (batch, K or 1, length, groups, state)
    C: Tensor  # (batch, K or 1, length, groups, state)
    D: Tensor | None = None  # (K or 1, dim)
    delta_bias: Tensor | None = None  # (K or 1, dim)
    orders: Tensor | None = None  # (K, length), int64; None: one direction, in order
    delta_softplus: bool = False
    order_all: bool = True

    @property
    def batch(self) -> int:
        return self.u.shape[0]

    @property
    def directions(self) -> int:
        return 1 if self.orders is None else self.orders.shape[0]

    @property
    def length(self) -> int:
        return self.u.shape[2]

    @property
    def dim(self) -> int:
        return self.u.shape[3]

    @property
    def state(self) -> int:
        return self.A.shape[2]

    @property
    def compute_dtype(self) -> torch.dtype:
        """float64 for a float64 ``u``, else float32: the state is never kept in half precision."""
        return torch.promote_types(self.u.dtype, torch.float32)


def canonical_arguments(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    channels_last: bool,
    orders: Tensor | None,
    order_all: bool,
) -> ScanArgs:
    """Checks the arguments of ``selective_scan`` and brings them, as views, into canonical layout.

    Raises:
        ValueError: naming the argument, what was allowed and what came.
    """
    given = (u, delta, A, B, C, D, z, delta_bias, orders)
    _check_once(given, channels_last)
    if not channels_last:
        u, delta = u.transpose(-1, -2), delta.transpose(-1, -2)
    u, delta = (x.unsqueeze(1) if x.ndim == 3 else x for x in (u, delta))
    B, C = _canonical_matrices(B, C, channels_last, orders is not None)
    A = A if A.ndim == 3 else A.unsqueeze(0)
    D, delta_bias = (
        x.unsqueeze(0) if x is not None and x.ndim == 1 else x for x in (D, delta_bias)
    )
    return ScanArgs(u, delta, A, B, C, D, delta_bias, orders, delta_softplus, order_all)


# Kinds of arguments that were found to fit: telling that takes longer than a small scan.
_fitting: set[tuple] = set()
MOST_FITTING = 1024
PLAIN = (Tensor, Parameter)


def _check_once(given: Sequence[Tensor | None], channels_last: bool) -> None:
    """Checks arguments unless others of the same shapes, dtypes and devices were checked before."""
    kind: list[object] = [channels_last]
    for x in given:
        if x is None:
            kind.append(None)
        elif type(x) in PLAIN:
            kind += (x.shape, x.dtype, x.device)
        else:
            # A tracer's sizes are no numbers.
            return _check(given, channels_last)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return _check(given, channels_last)
    key = tuple(kind)
    if key not in _fitting:
        _check(given, channels_last)
        if len(_fitting) == MOST_FITTING:
            _fitting.clear()
        _fitting.add(key)
    return None


def _check(given: Sequence[Tensor | None], channels_last: bool) -> None:
    u, delta, A, B, C, D, z, delta_bias, orders = given
    assert u is not None and delta is not None and A is not None
    assert B is not None and C is not None
    tensors = dict(u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias)
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f'{name} must be a real floating-point tensor, got {tensor.dtype}')
    for name, tensor in {**tensors, 'orders': orders}.items():
        if tensor is not None and tensor.device != u.device:
            raise ValueError(f'{name} must be on the device of u, {u.device}, got {tensor.device}')
    if orders is not None and (orders.dtype != torch.int64 or orders.ndim != 2):
        raise ValueError(
            f'orders must be an int64 tensor (directions, length), '
            f'got {orders.dtype} {tuple(orders.shape)}'
        )
    layout = 'channels-last' if channels_last else 'channels-first'
    if u.ndim not in ((3,) if orders is None else (3, 4)):
        allowed = '3' if orders is None else '3 or, one input per direction, 4'
        raise ValueError(f'u must have {allowed} dimensions ({layout}), got {tuple(u.shape)}')

    sizes = _Sizes(u, A, orders, channels_last)
    sizes.check('u', u, sizes.sequence())
    sizes.check('delta', delta, sizes.sequence())
    sizes.check('A', A, sizes.per_direction('dim', 'state'))
    for name, tensor in (('B', B), ('C', C)):
        sizes.check(name, tensor, sizes.matrix())
    for name, tensor in (('D', D), ('delta_bias', delta_bias)):
        if tensor is not None:
            sizes.check(name, tensor, sizes.per_direction('dim'))
    if z is not None:
        sizes.check('z', z, sizes.sequence()[:1])
    if orders is not None:
        sizes.check('orders', orders, [('directions', 'length')])

    dim = sizes.sizes['dim']
    found = [_groups(x, channels_last, orders is not None) for x in (B, C)]
    for name, groups in zip('BC', found, strict=True):
        if groups == 0 or dim % groups:
            raise ValueError(f'the groups of {name} must divide dim = {dim}, got {groups} groups')
    if found[0] != found[1]:
        raise ValueError(f'C must have the groups of B, {found[0]}, got {found[1]} groups')


def _groups(x: Tensor, channels_last: bool, multiple: bool) -> int:
    """Groups of channels with an input (or output) matrix of their own."""
    if x.ndim != (5 if multiple else 4):
        return 1
    return x.shape[-2] if channels_last else x.shape[-3]


def check_values(args: ScanArgs, debug: bool) -> None:
    """Checks what takes a look at the data: always on the CPU, where it is cheap, elsewhere in
    debug mode only.

    Raises:
        ValueError: if ``A`` is not finite, or (in debug mode) if a row of ``orders`` is not a
        permutation.
    """
    if (debug or args.A.device.type == 'cpu') and not _is_finite(args.A):
        count = int((~torch.isfinite(args.A)).sum())
        raise ValueError(f'A must be finite, got {count} values that are not')
    if debug and args.orders is not None:
        steps = torch.arange(args.length, device=args.orders.device)
        for k, order in enumerate(args.orders):
            if not torch.equal(order.sort().values, steps):
                raise ValueError(
                    f'orders must hold a permutation of 0..{args.length - 1} in each row, '
                    f'got {order[:8].tolist()}{"..." if args.length > 8 else ""} in row {k}'
                )


def _is_finite(x: Tensor) -> bool:
    # In one pass; a NaN is the least and the greatest of all.
    low, high = x.aminmax()
    return math.isfinite(low) and math.isfinite(high)


class _Sizes:
    """The sizes that u and A fix, and the shapes that follow from them."""

    def __init__(self, u: Tensor, A: Tensor, orders: Tensor | None, channels_last: bool) -> None:
        if A.ndim not in ((2,) if orders is None else (2, 3)):
            allowed = (
                '(dim, state)' if orders is None else '(dim, state) or (directions, dim, state)'
            )
            raise ValueError(f'A must be {allowed}, got {tuple(A.shape)}')
        length, dim = u.shape[-2:] if channels_last else (u.shape[-1], u.shape[-2])
        if length == 0 or dim == 0 or A.shape[-1] == 0:
            name, shape = ('A', A.shape) if A.shape[-1] == 0 else ('u', u.shape)
            raise ValueError(f'{name} must have no empty length, dim or state, got {tuple(shape)}')
        self.multiple = orders is not None
        self.channels_last = channels_last
        self.sizes = dict(batch=u.shape[0], length=length, dim=dim, state=A.shape[-1])
        if orders is not None:
            self.sizes['directions'] = orders.shape[0]

    def sequence(self) -> list[tuple[str, ...]]:
        tail = ('length', 'dim') if self.channels_last else ('dim', 'length')
        return [('batch', *tail)] + [('batch', 'directions', *tail)] * self.multiple

    def matrix(self) -> list[tuple[str, ...]]:
        if self.channels_last:
            plain, grouped = ('length', 'state'), ('length', 'groups', 'state')
        else:
            plain, grouped = ('state', 'length'), ('groups', 'state', 'length')
        if not self.multiple:
            return [('batch', *plain), ('batch', *grouped)]
        return [
            ('batch', *plain),
            ('batch', 'directions', *plain),
            ('batch', 'directions', *grouped),
        ]

    def per_direction(self, *names: str) -> list[tuple[str, ...]]:
        return [names] + [('directions', *names)] * self.multiple

    def check(self, name: str, tensor: Tensor, allowed: list[tuple[str, ...]]) -> None:
        if any(self._fits(tensor, names) for names in allowed):
            return
        shapes = ' or '.join(
            '(' + ', '.join(self._show(axis) for axis in names) + ')' for names in allowed
        )
        raise ValueError(f'{name} must have shape {shapes}, got {tuple(tensor.shape)}')

    def _fits(self, tensor: Tensor, names: tuple[str, ...]) -> bool:
        return tensor.ndim == len(names) and all(
            axis == 'groups'
            or size == self.sizes[axis]
            # A tensor may carry the axis of directions and still be shared by all of them.
            or (axis == 'directions' and size == 1)
            for size, axis in zip(tensor.shape, names, strict=True)
        )

    def _show(self, axis: str) -> str:
        return axis if axis == 'groups' else f'{axis}={self.sizes[axis]}'


def _canonical_matrices(
    B: Tensor, C: Tensor, channels_last: bool, multiple: bool
) -> tuple[Tensor, Tensor]:
    if not channels_last:
        B, C = _channels_last_matrix(B, multiple), _channels_last_matrix(C, multiple)
    return _canonical_matrix(B, multiple), _canonical_matrix(C, multiple)


def _channels_last_matrix(x: Tensor, multiple: bool) -> Tensor:
    """(..., [groups,] state, length) to (..., length, [groups,] state)."""
    grouped = x.ndim == (5 if multiple else 4)
    return x.movedim(-1, -3) if grouped else x.transpose(-1, -2)


def _canonical_matrix(x: Tensor, multiple: bool) -> Tensor:
    """Adds the axes of directions and groups where they are missing."""
    if x.ndim == 3:
        return x[:, None, :, None]
    if x.ndim == 5:
        return x
    return x.unsqueeze(3) if multiple else x.unsqueeze(1)

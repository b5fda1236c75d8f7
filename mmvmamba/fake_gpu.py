"""Models on a GPU that is not there: tensors without data, and a list of the operators that ran.

What a forward or backward pass would have a GPU do can so be counted on any machine: kernels to
launch, copies between devices, points at which the host would wait.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmvmamba.ops.tables import tables_apart

__all__ = [
    'Operator',
    'OperatorLog',
    'fake_autocast',
    'fake_gpu',
    'move_to_fake_gpu',
    'put_weights_without_data',
]

# Operators that launch nothing: they give another view of memory, allocate it, or ask about it.
WITHOUT_KERNEL = frozenset(
    """_reshape_alias _unsafe_view alias as_strided chunk detach diagonal empty empty_like
    empty_strided expand flatten lift_fresh movedim new_empty new_empty_strided permute
    promote_types real reshape select slice split split_with_sizes squeeze t transpose unbind
    unflatten unfold unsqueeze view""".split()  # noqa: SIM905
)
WAITING = frozenset(('_local_scalar_dense', 'item', 'nonzero', 'masked_select', 'is_nonzero'))


class Operator(NamedTuple):
    """One call of an operator that a GPU would have to run."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    copies_between_devices: bool
    only_of_weights: bool

    @property
    def is_cast(self) -> bool:
        return self.name == '_to_copy' and not self.copies_between_devices

    @property
    def waits(self) -> bool:
        return self.name in WAITING


class OperatorLog(TorchDispatchMode):
    """Notes the operators that run inside; ``kept`` is what it is told to keep whole.

    Args:
        keep: Name of an operator whose arguments are kept.
        weights: Parameters and buffers: what is computed of these alone is marked.
    """

    def __init__(self, keep: str = '', weights: tuple[Tensor, ...] = ()) -> None:
        super().__init__()
        self.keep = keep
        self.kept: list[tuple[Any, ...]] = []
        self.operators: list[Operator] = []
        # Tensors are held, so that no other one can get the number of one that has gone.
        self._of_weights = {id(x): x for x in weights}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == self.keep:
            self.kept.append(args)
        results = [x for x in _tensors(result) if isinstance(x, Tensor)]
        sources = [x for x in _tensors(args) if isinstance(x, Tensor)]
        of_weights = bool(sources) and all(id(x) in self._of_weights for x in sources)
        if of_weights:
            self._of_weights.update((id(x), x) for x in results)
        if name not in WITHOUT_KERNEL and func.namespace != 'prim':
            self.operators.append(_describe(name, sources, results, of_weights))
        return result

    def named(self, name: str) -> list[Operator]:
        return [x for x in self.operators if x.name == name]


def _describe(
    name: str, sources: list[Tensor], results: list[Tensor], of_weights: bool
) -> Operator:
    # Scalars on the CPU are arguments of kernels, not copies.
    devices = {x.device.type for x in (*sources, *results) if x.ndim or name != 'mul'}
    copies = name in ('_to_copy', 'copy_', 'index', 'index_put_') and len(devices) > 1
    shape = tuple(results[0].shape) if results else ()
    return Operator(name, shape, results[0].dtype if results else None, copies, of_weights)


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    else:
        yield value


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Inside, tensors of the device 'cuda' can be made on any machine; they hold no data.

    torch before 2.10 asks the driver for them, which may end the process.
    """
    with (
        tables_apart(),
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch('mmvmamba.ops.fused.op.triton_unavailable_reason', return_value=None),
    ):
        yield


def move_to_fake_gpu(model: nn.Module) -> nn.Module:
    """Puts fake weights, of the same shapes and memory formats, into a model; inside of
    ``fake_gpu``."""
    return put_weights_without_data(model, 'cuda')


def put_weights_without_data(model: nn.Module, device: str) -> nn.Module:
    """Puts weights of a device into a model that have no data; inside of a ``FakeTensorMode``."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fake = torch.empty_like(weight, device=device)
                module._parameters[name] = nn.Parameter(fake, weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty_like(buffer, device=device)
    return model


def fake_autocast(dtype: torch.dtype = torch.bfloat16) -> AbstractContextManager[None]:
    """Autocast of the device 'cuda', which without one torch would switch off."""
    with (
        mock.patch('torch.cuda.is_available', return_value=True),
        mock.patch('torch.cuda.is_bf16_supported', return_value=True),
        mock.patch('torch.cuda.amp.common.amp_definitely_not_available', return_value=False),
    ):
        return torch.autocast('cuda', dtype)

"""Compiles Triton kernels for a GPU that is not there, as the host code of a backend launches them.

Launches are recorded instead of run, with whatever tensors the caller has (fake ones do); each is
then compiled for a target. Triton makes one variant of a kernel for each combination of types,
constants and alignments; those of a launch are told here as it tells them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmvmamba.ops.triton_device import OPTIONS

__all__ = ['Launch', 'compile_for', 'recorded_launches']

TYPES = {
    torch.float32: 'fp32',
    torch.float16: 'fp16',
    torch.bfloat16: 'bf16',
    torch.int64: 'i64',
    torch.int32: 'i32',
}
WARP_SIZES = {'cuda': 32, 'hip': 64}
# Of addresses, in bytes, and of numbers: what Triton's compiler is told.
ALIGNMENT = 16


class Launch(NamedTuple):
    """A kernel with all that Triton's compiler would see, and the number of its programs."""

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    aligned: tuple[int, ...]  # places of the arguments that are multiples of 16
    num_warps: int
    programs: int
    numbers: dict[str, int]  # all integers that were passed, constants too
    tensor_bytes: int  # of all tensors that were passed, each counted once

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)

    def key(self) -> tuple[str, str]:
        """Equal for launches that share a compiled kernel."""
        parts = (self.signature, self.constants, self.aligned, self.num_warps)
        return self.name, repr(parts)


class _Recorder:
    """Takes the place of a kernel and notes its launches."""

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: Sequence[int]) -> Callable[..., None]:
        def launch(
            *args: Any, num_warps: int = 4, enable_fp_fusion: bool, **constants: Any
        ) -> None:
            self.launches.append(_describe(self.kernel, args, constants, num_warps, grid[0]))

        return launch


def _describe(
    kernel: Any, args: Sequence[Any], constants: dict[str, Any], num_warps: int, programs: int
) -> Launch:
    parameters = [p for p in kernel.params if p.name not in constants]
    signature = dict.fromkeys((p.name for p in kernel.params), 'constexpr')
    aligned, tensor_bytes = [], 0
    numbers = {name: value for name, value in constants.items() if isinstance(value, int)}
    for parameter, value in zip(parameters, args, strict=True):
        if isinstance(value, int):
            numbers[parameter.name] = value
        is_special = not parameter.do_not_specialize
        # Triton makes constants of None and of the number 1, too.
        if value is None or parameter.is_constexpr or (is_special and _is_one(value)):
            constants[parameter.name] = value
            continue
        if isinstance(value, Tensor):
            signature[parameter.name] = f'*{TYPES[value.dtype]}'
            is_aligned = value.storage_offset() * value.element_size() % ALIGNMENT == 0
            tensor_bytes += value.numel() * value.element_size()
        elif isinstance(value, float):
            signature[parameter.name], is_aligned = 'fp32', False
        else:
            signature[parameter.name] = 'i32' if abs(value) < 2**31 else 'i64'
            is_aligned = is_special and value % ALIGNMENT == 0
        if is_aligned:
            aligned.append(parameter.num)
    return Launch(
        kernel, signature, constants, tuple(aligned), num_warps, programs, numbers, tensor_bytes
    )  # fmt: skip


def _is_one(value: Any) -> bool:
    return isinstance(value, int) and value == 1


@contextmanager
def recorded_launches(kernels: ModuleType) -> Iterator[list[Launch]]:
    """Notes the launches of the kernels of a module (its ``__all__``) inside; none of them runs."""
    originals = {name: getattr(kernels, name) for name in kernels.__all__}
    launches: list[Launch] = []
    for name, kernel in originals.items():
        setattr(kernels, name, _Recorder(kernel, launches))
    try:
        yield launches
    finally:
        for name, kernel in originals.items():
            setattr(kernels, name, kernel)


def compile_for(launch: Launch, backend: str, architecture: int | str) -> Any:
    """The compiled kernel; raises what Triton or the assembler has against it.

    Args:
        launch: What is to be compiled.
        backend: 'cuda' or 'hip'.
        architecture: 90 for compute capability 9.0, or such as 'gfx942'.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    attributes = {(place,): [['tt.divisibility', ALIGNMENT]] for place in launch.aligned}
    source = ASTSource(launch.kernel, launch.signature, launch.constants, attributes)
    target = GPUTarget(backend, architecture, WARP_SIZES[backend])
    options = {'num_warps': launch.num_warps, **OPTIONS}
    return triton.compile(source, target=target, options=options)

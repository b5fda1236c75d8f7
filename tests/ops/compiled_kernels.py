"""Compiles Triton kernels for a GPU that is not there, as the host code of a backend launches them.

The launches are recorded, with CPU tensors, instead of run; each is then compiled for a target.
"""

from contextlib import contextmanager
from typing import NamedTuple

import torch

TYPES = {
    torch.float32: 'fp32',
    torch.float16: 'fp16',
    torch.bfloat16: 'bf16',
    torch.int64: 'i64',
}
WARP_SIZES = {'cuda': 32, 'hip': 64}


class Launch(NamedTuple):
    """A kernel with the types, the constant arguments and the options that Triton would see."""

    kernel: object
    signature: dict[str, str]
    constants: dict[str, object]
    num_warps: int

    def key(self):
        parts = (self.signature, self.constants, self.num_warps)
        return self.kernel.fn.__name__, repr(parts)


class Recorder:
    """Takes the place of a kernel and notes its launches."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *args, num_warps=4, **constants):
        names = [name for name in self.kernel.arg_names if name not in constants]
        signature = dict.fromkeys(self.kernel.arg_names, 'constexpr')
        for name, value in zip(names, args, strict=True):
            # Triton makes constants of None and of the number 1, too.
            if value is None or (isinstance(value, int) and value == 1):
                constants[name] = value
            elif isinstance(value, torch.Tensor):
                signature[name] = f'*{TYPES[value.dtype]}'
            else:
                signature[name] = 'i32' if abs(value) < 2**31 else 'i64'
        self.launches.append(Launch(self.kernel, signature, constants, num_warps))


@contextmanager
def recorded_launches(monkeypatch, module, names):
    """Launches of the kernels ``names`` of a module inside; none of them runs."""
    launches = []
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(module, name, Recorder(getattr(module, name), launches))
        yield launches


def compile_for(launch, backend, architecture):
    """The compiled kernel; raises what Triton or the assembler has against it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(launch.kernel, launch.signature, launch.constants)
    target = GPUTarget(backend, architecture, WARP_SIZES[backend])
    return triton.compile(source, target=target, options={'num_warps': launch.num_warps})

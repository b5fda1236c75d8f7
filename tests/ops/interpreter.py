"""What the scripts share that run Triton kernels under its interpreter; imported before Triton.

Triton reads ``TRITON_INTERPRET`` when it is imported, and what it then compiles no longer runs on a
GPU: such a script is a process of its own. It prints one JSON object, case -> name of a result ->
largest error by the allowed one.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.utils import digit_version

from mmvmamba.testing import allowed_half_error

ROOT = Path(__file__).resolve().parents[2]


def run_script(name, *arguments):
    """Runs a script of this folder, for a test; returns its errors by case and result."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'TRITON_INTERPRET': '1'}
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name)), *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


def assert_within_tolerance(cases):
    for case, errors in cases.items():
        wrong = {name: error for name, error in errors.items() if not error <= 1}
        assert not wrong, f'{case}: {wrong}'


@contextmanager
def fresh_memory_is_nan():
    """Fills fresh memory with NaN, so that a kernel which forgets to write a cell fails."""
    fresh = torch.Tensor.new_empty

    def filled(*args, **kwargs):
        memory = fresh(*args, **kwargs)
        return memory.fill_(float('nan')) if memory.is_floating_point() else memory

    torch.Tensor.new_empty = filled
    try:
        yield
    finally:
        torch.Tensor.new_empty = fresh


def error_by_allowed(got, plain, want):
    """The error by the allowed one: in half precision, twice that of plain PyTorch."""
    assert got.shape == want.shape
    if not torch.isfinite(got).all():
        return float('inf')
    found, allowed = (got.double() - want).abs().max(), allowed_half_error(plain, want)
    if got.dtype == torch.bfloat16:
        # The interpreter rounds to bfloat16 towards zero, which errs twice as much as a GPU does.
        allowed = 2 * allowed
    return float(found / max(allowed, 1e-30))


def strided(x):
    """The same values, with no axis contiguous."""
    return torch.stack([x, torch.full_like(x, float('nan'))], dim=-1)[..., 0]


def mend_interpreter():
    """Works around two of its faults.

    numpy 2.4 no longer turns arrays of one element into scalars, as Triton 3.6 expects of it. In
    Triton 3.9 a comparison of numbers becomes integers once it meets a tile, and no mask.
    """
    import triton
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor

    def patch(tensor, *scope):
        original(tensor, *scope)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    interpreter._patch_lang_tensor = patch

    if digit_version(triton.__version__) < digit_version('3.9'):
        return
    splat = interpreter.InterpreterBuilder.create_splat

    def typed_splat(builder, tile, value):
        # The handle of a comparison has the type of what was compared.
        return splat(builder, tile, interpreter.TensorHandle(value.data, tile.scalar))

    interpreter.InterpreterBuilder.create_splat = typed_splat

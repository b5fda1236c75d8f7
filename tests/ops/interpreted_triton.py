"""Runs the Triton backend under Triton's interpreter on the CPU; a process of its own.

Triton reads ``TRITON_INTERPRET`` when it is imported, and what it then compiles no longer runs on a
GPU. ``test_selective_scan_triton.py`` starts this file and reads its output: one JSON object,
case -> name of a result -> largest error by the allowed one. ``--long`` runs sequences of real
length in chunks of real length instead, which takes a minute.
"""

import json
import os
import sys

os.environ['TRITON_INTERPRET'] = '1'

import torch
from scan_inputs import fast_scan, make_scan_inputs, reference_scan, run_with_grads, to_double
from triton.runtime import interpreter

from mmvmamba.ops.selective_scan import dispatch
from mmvmamba.ops.selective_scan import triton as backend
from mmvmamba.testing import TOLERANCES

PLAIN_MAMBA = dict(directions=4, shared=('u', 'delta', 'A', 'C', 'D', 'delta_bias'))
SOFTPLUS = dict(delta_softplus=True)

# name: (batch, length, dim, state), inputs, options.
CASES = {
    'length 1': ((2, 1, 5, 1), {}, {}),
    'length 2': ((1, 2, 3, 8), {}, SOFTPLUS),
    'length 63': ((1, 63, 3, 4), {}, SOFTPLUS),
    'two chunks': ((1, 7, 5, 4), {}, {}),
    'state 3': ((1, 9, 5, 3), {}, SOFTPLUS),
    'state 32': ((1, 11, 9, 32), {}, SOFTPLUS),
    'state 200': ((1, 5, 3, 200), {}, SOFTPLUS),
    'several blocks': ((1, 9, 37, 16), {}, SOFTPLUS),
    'segments': ((1, 37, 3, 4), {}, SOFTPLUS),
    'segments in reverse orders': (
        (1, 33, 2, 2), dict(directions=2, shared=('u',)), SOFTPLUS
    ),
    'segments of shared decays': ((1, 33, 2, 2), PLAIN_MAMBA, dict(order_all=False, **SOFTPLUS)),
    'groups': ((2, 9, 6, 4), dict(groups=3), {}),
    'no optional argument': ((1, 9, 5, 4), dict(without=('D', 'z', 'delta_bias')), {}),
    'plain_mamba': ((1, 9, 5, 4), PLAIN_MAMBA, dict(order_all=False, **SOFTPLUS)),
    'five directions': (
        (1, 6, 5, 4), dict(PLAIN_MAMBA, directions=5), dict(order_all=False)
    ),
    'own bias': (
        (1, 6, 5, 4),
        dict(directions=2, shared=('u', 'delta', 'A', 'C', 'D')),
        dict(order_all=False, **SOFTPLUS),
    ),
    'vim': ((1, 9, 5, 4), dict(directions=2, shared=('u',)), SOFTPLUS),
    'vmamba': ((1, 6, 4, 1), dict(directions=4, shared=('u',), groups=2), SOFTPLUS),
    'everything shared': (
        (1, 6, 5, 4),
        dict(directions=3, shared=('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')),
        SOFTPLUS,
    ),
    'bfloat16': ((2, 25, 12, 4), dict(half=torch.bfloat16), SOFTPLUS),
    'float16': ((2, 25, 12, 4), dict(half=torch.float16), SOFTPLUS),
}  # fmt: skip
LONG_CASES = {
    'length 196': ((1, 196, 3, 16), {}, SOFTPLUS),
    'plain_mamba, length 196': ((1, 196, 3, 8), PLAIN_MAMBA, dict(order_all=False, **SOFTPLUS)),
    'vim, length 197': ((1, 197, 3, 8), dict(directions=2, shared=('u',)), SOFTPLUS),
    'length 1025': ((1, 1025, 2, 4), {}, SOFTPLUS),
}


def main() -> None:
    accept_numpy()
    if '--long' in sys.argv:
        errors = {name: run(*case) for name, case in LONG_CASES.items()}
    else:
        # Short sequences, quick to interpret, still have several chunks and segments.
        dispatch.CHUNK_LENGTHS['cpu'] = 4
        errors = {name: run(*case) for name, case in CASES.items()}
        errors['views'] = run(*CASES['two chunks'], view=strided)
        errors['segments used'] = {'segments': float(segments_of(37))}
    json.dump(errors, sys.stdout)


def run(shape, made, options, view=lambda x: x) -> dict[str, float]:
    inputs = {name: view(x) for name, x in make_scan_inputs(*shape, **made).items()}
    fresh = torch.Tensor.new_empty
    torch.Tensor.new_empty = lambda *a, **k: nan_filled(fresh(*a, **k))
    try:
        got = run_with_grads(fast_scan('triton'), inputs, **options)
    finally:
        torch.Tensor.new_empty = fresh
    plain = run_with_grads(reference_scan, inputs, **options)
    want = run_with_grads(reference_scan, to_double(inputs), **options)
    return {name: error(got[name], plain[name], want[name]) for name in want}


def nan_filled(memory: torch.Tensor) -> torch.Tensor:
    return memory.fill_(float('nan')) if memory.is_floating_point() else memory


def error(got: torch.Tensor, plain: torch.Tensor, want: torch.Tensor) -> float:
    """The error by the allowed one: in half precision, twice that of plain PyTorch."""
    assert got.shape == want.shape
    if not torch.isfinite(got).all():
        return float('inf')
    found, of_plain = ((x.double() - want).abs().max() for x in (got, plain))
    allowed = 2 * of_plain
    if got.dtype == torch.bfloat16:
        # The interpreter rounds to bfloat16 towards zero, which errs twice as much as a GPU does.
        allowed = 2 * allowed
    if got.dtype == torch.float32:
        # It has no rounding to half to be compared with.
        allowed = allowed + TOLERANCES[torch.float32] * want.abs().max()
    return float(found / allowed.clamp_min(1e-30))


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same values, with no axis contiguous."""
    return torch.stack([x, torch.full_like(x, float('nan'))], dim=-1)[..., 0]


def segments_of(length: int) -> int:
    inputs = {n: x for n, x in make_scan_inputs(1, length, 3, 4).items() if n != 'z'}
    from mmvmamba.ops.selective_scan.arguments import canonical_arguments

    args = canonical_arguments(**inputs, z=None, delta_softplus=False, channels_last=True,
                               orders=None, order_all=True)  # fmt: skip
    return backend._plan(args, 1, 4).segments


def accept_numpy() -> None:
    """numpy 2.4 no longer turns arrays of one element into scalars, as Triton 3.6 expects of it."""
    original = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        original(tensor, scope)
        scope.set_attr(tensor, '__index__', lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch


if __name__ == '__main__':
    torch.set_num_threads(1)
    main()

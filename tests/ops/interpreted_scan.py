"""Runs the Triton backend of the scan under Triton's interpreter: see interpreter.py.

``test_selective_scan_triton.py`` starts this file. ``--long`` runs sequences of real length in
chunks of real length instead, which takes a minute.
"""

import json
import sys

import torch

from mmvmamba.ops.selective_scan import dispatch
from mmvmamba.ops.selective_scan import triton as backend
from tests.ops.interpreter import error_by_allowed, fresh_memory_is_nan, mend_interpreter, strided
from tests.ops.scan_inputs import (
    PLAIN_MAMBA,
    fast_scan,
    make_scan_inputs,
    reference_scan,
    run_with_grads,
    to_double,
)

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
    'several blocks of one program': ((8, 5, 37, 16), {}, SOFTPLUS),
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
    'one state': ((2, 11, 37, 1), {}, SOFTPLUS),
    'one state, segments': ((1, 37, 3, 1), {}, {}),
    'one state, segments of four directions': (
        (1, 33, 3, 1), dict(directions=4, shared=('u',)), SOFTPLUS
    ),
    'one state, no optional argument': (
        (2, 9, 5, 1), dict(without=('D', 'z', 'delta_bias')), {}
    ),
    'one state, only B its own': ((1, 9, 5, 1), PLAIN_MAMBA, dict(order_all=False, **SOFTPLUS)),
    'one state, bfloat16': (
        (1, 25, 12, 1), dict(directions=4, shared=('u',), half=torch.bfloat16), SOFTPLUS
    ),
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
    'vmamba, length 196': ((1, 196, 3, 1), dict(directions=4, shared=('u',)), SOFTPLUS),
}


def main() -> None:
    mend_interpreter()
    if '--long' in sys.argv:
        errors = {name: run(*case) for name, case in LONG_CASES.items()}
        # Chunks as they are on a GPU.
        dispatch.SINGLE_STATE_CHUNK_LENGTHS['cpu'] = dispatch.SINGLE_STATE_CHUNK_LENGTHS['cuda']
        errors['vmamba in short chunks'] = run(*LONG_CASES['vmamba, length 196'])
    else:
        # Short sequences, quick to interpret, still have several chunks and segments.
        dispatch.CHUNK_LENGTHS['cpu'] = 4
        errors = {name: run(*case) for name, case in CASES.items()}
        errors['views'] = run(*CASES['two chunks'], view=strided)
        errors['views of one state'] = run(*CASES['one state'], view=strided)
        errors['segments used'] = {'segments': float(segments_of(37))}
    json.dump(errors, sys.stdout)


def run(shape, made, options, view=lambda x: x) -> dict[str, float]:
    inputs = {name: view(x) for name, x in make_scan_inputs(*shape, **made).items()}
    with fresh_memory_is_nan():
        got = run_with_grads(fast_scan('triton'), inputs, **options)
    plain = run_with_grads(reference_scan, inputs, **options)
    want = run_with_grads(reference_scan, to_double(inputs), **options)
    return {name: error_by_allowed(got[name], plain[name], want[name]) for name in want}


def segments_of(length: int) -> int:
    inputs = {n: x for n, x in make_scan_inputs(1, length, 3, 4).items() if n != 'z'}
    from mmvmamba.ops.selective_scan.arguments import canonical_arguments

    args = canonical_arguments(**inputs, z=None, delta_softplus=False, channels_last=True,
                               orders=None, order_all=True)  # fmt: skip
    return backend._plan(args, 1, 4).segments


if __name__ == '__main__':
    torch.set_num_threads(1)
    main()

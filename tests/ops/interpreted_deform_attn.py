"""Runs the Triton backend of deformable attention under Triton's interpreter: see interpreter.py.

``test_ms_deform_attn_triton.py`` starts this file.
"""

import json
import sys

import torch

from tests.ops.deform_attn_inputs import (
    CASES,
    fast,
    make_deform_attn_inputs,
    make_half_inputs,
    reference,
    run_with_grads,
    to_double,
)
from tests.ops.interpreter import error_by_allowed, fresh_memory_is_nan, mend_interpreter, strided


def main():
    mend_interpreter()
    errors = {name: run(case) for name, case in CASES.items()}
    small = (1, 5, 2, 3, 2, [(5, 6), (2, 3)])
    errors['views'] = run(small, view=strided)
    for half in (torch.bfloat16, torch.float16):
        errors[str(half)] = run(small, half)
        errors[f'value in {half}'] = run_value_in(half, small)
    errors['nan'] = run_nan(small)
    json.dump(errors, sys.stdout)


def run(case, dtype=torch.float32, view=lambda x: x):
    shapes = case[-1]
    half = dtype != torch.float32
    made = make_half_inputs(case, dtype) if half else make_deform_attn_inputs(*case)
    inputs = {name: view(x) for name, x in made.items()}
    with fresh_memory_is_nan():
        got = run_with_grads(fast(shapes, 'triton'), inputs)
    plain = run_with_grads(reference(shapes), inputs)
    want = run_with_grads(reference(shapes), to_double(inputs))
    return {name: error_by_allowed(got[name], plain[name], want[name]) for name in want}


def run_value_in(half, case):
    """Sums in float32: a result is about as wrong as roundings of ``value`` and ``out`` make it."""
    shapes, inputs = case[-1], make_deform_attn_inputs(*case)
    inputs['value'] = inputs['value'].to(half)
    got = run_with_grads(fast(shapes, 'triton'), inputs)
    want = run_with_grads(reference(shapes), to_double(inputs))
    return {name: error_of_rounding(got[name], want[name]) for name in want}


def error_of_rounding(got, want):
    # The upstream gradient has the dtype of value: one rounding more, for sums with both signs.
    allowed = 2 * torch.finfo(torch.bfloat16 if got.dtype == torch.float32 else got.dtype).eps
    return float((got.double() - want).abs().max() / want.abs().max() / allowed)


def run_nan(case):
    """A location that is not a number makes the outputs of its query and head so, no other's."""
    shapes, inputs = case[-1], make_deform_attn_inputs(*case)
    inputs['locations'][0, 2, 1, 1, 0, 0] = float('nan')
    out = fast(shapes, 'triton')(**inputs).unflatten(-1, inputs['value'].shape[2:])
    expected = torch.zeros_like(out, dtype=torch.bool)
    expected[0, 2, 1] = True
    return {'out': float(not torch.equal(out.isnan(), expected)) * 2}


if __name__ == '__main__':
    torch.set_num_threads(1)
    main()

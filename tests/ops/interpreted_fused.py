"""Runs the Triton kernels of the fused operators under Triton's interpreter: see interpreter.py.

``test_fused.py`` starts this file.
"""

import json
import sys

import torch

from mmvmamba.ops.fused import reference, triton
from mmvmamba.ops.selective_scan import triton as scan
from mmvmamba.ops.selective_scan.arguments import canonical_arguments
from tests.ops.interpreter import error_by_allowed, fresh_memory_is_nan, mend_interpreter
from tests.ops.scan_inputs import PLAIN_MAMBA, make_scan_inputs, reference_scan, to_double

HALF = torch.bfloat16


def main():
    mend_interpreter()
    torch.manual_seed(0)
    errors = {}
    for dtype in (torch.float32, HALF):
        for name, case in {**norms(dtype), **convolutions(dtype), **gates(dtype)}.items():
            errors[f'{name}, {dtype}'] = compare(*case)
        errors[f'scan and gate, {dtype}'] = {
            'out': max(gated(made, dtype) for made in ({}, PLAIN_MAMBA)),
            'out, no gate': gated(dict(PLAIN_MAMBA, without=('z',)), dtype),
        }
    json.dump(errors, sys.stdout)


def norms(dtype):
    x, branch = torch.randn(2, 5, 7), torch.randn(2, 5, 7).to(dtype)
    weight, bias, scale = torch.randn(3, 7)
    run, plain = triton.add_norm, reference.add_norm_ref
    return {
        'LayerNorm': (run, plain, x.to(dtype), None, None, weight, bias, 1e-5, False, dtype),
        'LayerNorm of a sum': (run, plain, x, branch, None, weight, None, 1e-6, False, dtype),
        'RMSNorm of a sum': (run, plain, x, branch, scale, weight, None, 1e-5, True, dtype),
        'transposed': (
            run, plain, torch.randn(2, 7, 5).transpose(1, 2), branch, scale, weight, bias, 1e-5,
            False, dtype,
        ),
    }  # fmt: skip


def convolutions(dtype):
    x = torch.randn(2, 19, 140).to(dtype)[..., 3:73]
    run, plain = triton.convolve_silu, reference.convolve_silu_ref
    return {
        'both ways': (run, plain, x, torch.randn(2, 4, 70), torch.randn(2, 70), [3, 0]),
        'middle': (run, plain, x, torch.randn(1, 3, 70), None, [1]),
        'strided': (run, plain, x[..., ::2], torch.randn(1, 2, 35), None, [0]),
    }


def gates(dtype):
    x = torch.randn(2, 3, 5, 166).to(dtype)
    gate, identity, convolved = x.split([83, 13, 70], dim=-1)
    maps = torch.randn(2, 70, 3, 5).to(dtype).permute(0, 2, 3, 1)
    run, plain = triton.gate_channels, reference.gate_channels_ref
    return {
        'gelu': (run, plain, gate, identity, convolved, 'gelu'),
        'silu, maps': (run, plain, gate, identity, maps, 'silu'),
        'nothing beside': (run, plain, gate[..., :70], identity[..., :0], convolved, 'gelu'),
    }


def compare(run, plain, *arguments):
    """Errors of each result by the allowed ones."""
    want = as_tuple(plain(*(widened(x) for x in arguments)))
    half = as_tuple(plain(*arguments))
    with fresh_memory_is_nan():
        got = as_tuple(run(*arguments))
    return {
        str(i): error_by_allowed(x, y, z.double())
        for i, (x, y, z) in enumerate(zip(got, half, want, strict=True))
        if z.numel()
    }


def gated(made, dtype):
    inputs = make_scan_inputs(2, 9, 5, 4, half=None if dtype == torch.float32 else dtype, **made)
    options = dict(delta_softplus=True, order_all=not made)
    z = inputs.get('z')
    args = canonical_arguments(
        **{'orders': None, **inputs, 'z': None}, channels_last=True, **options
    )
    with fresh_memory_is_nan():
        got = scan.gated_forward(args, z)
    plain, want = (reference_scan(**x, **options)[0] for x in (inputs, to_double(inputs)))
    assert torch.isfinite(got).all()
    return error_by_allowed(got, plain, want)


def widened(x):
    if x == HALF if isinstance(x, torch.dtype) else False:
        return torch.float32
    return x.float() if isinstance(x, torch.Tensor) else x


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


if __name__ == '__main__':
    torch.set_num_threads(1)
    main()

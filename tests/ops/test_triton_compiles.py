"""Every Triton kernel of the project compiles for GPUs; needs none."""

import pytest
import torch

pytest.importorskip('triton', reason='triton is not installed')

import triton
from mmengine.utils import digit_version

from mmvmamba.ops.fused import triton as fused
from mmvmamba.ops.fused import triton_kernels as fused_kernels
from mmvmamba.ops.ms_deform_attn import triton as deform_attn
from mmvmamba.ops.ms_deform_attn import triton_kernels as deform_attn_kernels
from mmvmamba.ops.selective_scan import triton as scan
from mmvmamba.ops.selective_scan import triton_kernels as scan_kernels
from mmvmamba.ops.selective_scan.arguments import canonical_arguments
from mmvmamba.ops.selective_scan.dispatch import chunk_length_for
from mmvmamba.ops.triton_compile import compile_for, recorded_launches
from mmvmamba.ops.triton_device import interpreted
from tests.ops.deform_attn_inputs import CASES, make_deform_attn_inputs
from tests.ops.scan_inputs import make_scan_inputs

pytestmark = pytest.mark.skipif(interpreted(), reason='kernels are made for the interpreter')

TARGETS = [('cuda', 90), ('cuda', 80), ('hip', 'gfx942')]
if digit_version(triton.__version__) < digit_version('3.5'):
    TARGETS.pop()  # it asks for the linker of an installed ROCm
PLAIN_MAMBA = dict(directions=4, shared=('u', 'delta', 'A', 'C', 'D', 'delta_bias'))

# (batch, length, dim, state), inputs, order_all: what the backbones run, and what they do not.
SCANS = {
    'one direction': ((8, 196, 384, 16), dict(half=torch.bfloat16), True),
    'plain_mamba': ((2, 196, 384, 16), dict(PLAIN_MAMBA, half=torch.float16), False),
    'vim': ((2, 197, 384, 16), dict(directions=2, shared=('u',)), True),
    'windows': ((2, 49, 320, 8), dict(without=('D', 'delta_bias')), True),
    'odd sizes and groups': ((2, 37, 15, 5), dict(groups=3), True),
    'long': ((1, 3000, 32, 16), {}, True),
    'vmamba': ((2, 49, 96, 1), dict(directions=4, shared=('u',), half=torch.bfloat16), True),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing that was compiled before counts."""
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))


def deform_attn_launches(dtype):
    case = CASES['three levels']
    inputs = make_deform_attn_inputs(*case)
    inputs['value'] = inputs['value'].to(dtype)
    arguments = (inputs['value'], case[-1], inputs['locations'], inputs['weights'])
    grad_out = torch.ones(*inputs['value'].shape[:1], 7, 15, dtype=dtype)
    with recorded_launches(deform_attn_kernels) as launches:
        deform_attn.forward(*arguments)
        deform_attn.backward(*arguments, grad_out)
    return launches


def scan_launches(monkeypatch, shape, made, order_all, with_last_state):
    """Launches of the forward and backward pass with each of the configs that tuning tries."""
    made = {**made, 'without': ('z', *made.get('without', ()))}
    args = canonical_arguments(
        **{'D': None, 'delta_bias': None, 'orders': None, **make_scan_inputs(*shape, **made)},
        z=None, delta_softplus=True, channels_last=True, order_all=order_all,
    )  # fmt: skip
    state = torch.zeros(args.batch, args.directions, args.dim, args.state)
    grad_out = torch.zeros(args.batch, args.length, args.dim, dtype=args.u.dtype)

    def launch_each(kernel, args, plan, variant, configs, launch):
        return [launch(config) for config in configs][-1]

    monkeypatch.setattr(scan, 'run_tuned', launch_each)
    with recorded_launches(scan_kernels) as launches:
        chunk = chunk_length_for(torch.device('cuda'), args.state)
        _, _, checkpoints = scan.forward(args, chunk, with_last_state)
        scan.forward(args, 0, False)
        scan.gated_forward(args, torch.zeros(args.batch, args.length, args.dim))
        scan.backward(args, chunk, checkpoints, grad_out, state if with_last_state else None)
    return launches


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_deformable_attention_compiles(dtype):
    launches = deform_attn_launches(dtype)
    assert {launch.name for launch in launches} == set(deform_attn_kernels.__all__)
    for launch in launches:
        for target in TARGETS if dtype == torch.float32 else TARGETS[:1]:
            assert_is_machine_code(compile_for(launch, *target), target)


def fused_launches(dtype):
    x, weight, taps = torch.ones(2, 49, 320, dtype=dtype), torch.ones(320), torch.ones(1, 3, 320)
    with recorded_launches(fused_kernels) as launches:
        fused.add_norm(x.float(), x, weight, weight, weight, 1e-5, False, dtype)
        fused.add_norm(x, None, None, weight, None, 1e-5, True, dtype)
        fused.convolve_silu(x, taps, None, [1])
        fused.convolve_silu(x, torch.ones(2, 4, 320), torch.ones(2, 320), [3, 0])
        fused.gate_channels(x, x[..., :100], x[..., :220], 'gelu')
        fused.gate_channels(x, x[..., :0], x, 'silu')
    return launches


@pytest.mark.parametrize('target', TARGETS, ids=str)
def test_fused_operators_compile_and_spill_nothing(target):
    launches = fused_launches(torch.bfloat16)
    assert {launch.name for launch in launches} == set(fused_kernels.__all__)
    for launch in launches:
        compiled = compile_for(launch, *target)
        assert_is_machine_code(compiled, target)
        if target[0] == 'cuda':
            assert compiled.asm['ptx'].count('.local') == 0


def all_scan_launches(monkeypatch, cases):
    launches = {}
    for number, case in enumerate(cases):
        for launch in scan_launches(monkeypatch, *SCANS[case], with_last_state=number % 2 == 1):
            launches.setdefault(launch.key(), launch)
    return list(launches.values())


def test_selective_scan_compiles(monkeypatch):
    """The first config of each kernel; the slow test compiles all."""
    launches = all_scan_launches(monkeypatch, ['long', 'vmamba'])
    first = {}
    for launch in launches:
        first.setdefault(launch.name, launch)
    assert first.keys() == set(scan_kernels.__all__)
    for launch in first.values():
        assert_is_machine_code(compile_for(launch, *TARGETS[0]), TARGETS[0])


def test_the_scan_of_one_state_compiles_for_offsets_beyond_32_bits(monkeypatch):
    monkeypatch.setattr(scan, '_is_wide', lambda *given: True)
    first = {}
    for launch in all_scan_launches(monkeypatch, ['vmamba']):
        first.setdefault(launch.name, launch)
    wide = [x for x in first.values() if x.name.startswith('single_state')]
    assert [x.constants['WIDE'] for x in wide] == [True, True]
    for launch in wide:
        assert_is_machine_code(compile_for(launch, *TARGETS[0]), TARGETS[0])


@pytest.mark.slow
@pytest.mark.parametrize('target', TARGETS[1:], ids=str)
def test_the_scan_of_one_state_compiles_for_other_gpus(monkeypatch, target):
    first = {}
    for launch in all_scan_launches(monkeypatch, ['vmamba']):
        first.setdefault(launch.name, launch)
    assert len(first) == 3
    for launch in first.values():
        assert_is_machine_code(compile_for(launch, *target), target)


@pytest.mark.slow
@pytest.mark.parametrize('case', SCANS)
def test_every_config_of_the_selective_scan_compiles(monkeypatch, case):
    launches = all_scan_launches(monkeypatch, [case])
    configs = (scan.FORWARD_CONFIGS, scan.BACKWARD_CONFIGS)
    if SCANS[case][0][3] == 1:
        configs = (scan.SINGLE_FORWARD_CONFIGS, scan.SINGLE_BACKWARD_CONFIGS)
    assert len(launches) >= sum(map(len, configs))
    for launch in launches:
        assert_is_machine_code(compile_for(launch, *TARGETS[0]), TARGETS[0])


def assert_is_machine_code(compiled, target):
    assert len(compiled.asm['cubin' if target[0] == 'cuda' else 'hsaco']) > 1000

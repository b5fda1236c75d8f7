"""What the machine code of the scan's kernels has won, and must keep; no GPU is needed."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip('triton', reason='triton is not installed')

import triton

from mmvmamba.ops.selective_scan import triton_plan
from mmvmamba.ops.triton_device import interpreted
from tests.versions import needs_fake_gpu

pytestmark = pytest.mark.skipif(interpreted(), reason='kernels are made for the interpreter')
of_triton_3_6 = pytest.mark.skipif(
    not triton.__version__.startswith('3.6.'), reason='the figures are those of Triton 3.6'
)

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
# Sides of the maps of fourteen detector images, at stride 16.
DETECTOR_GRIDS = [
    (50, 84), (50, 75), (50, 67), (67, 50), (75, 50), (84, 50), (50, 50), (50, 72), (44, 84),
    (50, 80), (63, 50), (50, 64), (48, 84), (50, 70),
]  # fmt: skip


@pytest.fixture
def static(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    yield import_module('gpu_static')
    for name in ('common', 'family_scans', 'gpu_static', 'hopper_model', 'machine_code'):
        sys.modules.pop(name, None)


def first_of(static, case, backward, kernel):
    """The first config of a kernel of a case."""
    launches = static.launches_of(case, backward)
    config, launch = next(x for x in launches if x[1].name.endswith(f'{kernel}_kernel'))
    return static.measure_kernel(config, launch)


@of_triton_3_6
@pytest.mark.parametrize(
    ('case', 'kernel', 'most_per_element'),
    [
        ('S1 (128, 384, 196, 16)', 'fwd', 11.9),
        ('S3 (1, 384, 4200, 16)', 'segment', 8.2),
        ('PlainMamba-L1 224, batch 64', 'fwd', 11.2),
    ],
)
def test_forward_kernels_keep_what_was_won(static, case, kernel, most_per_element):
    found = first_of(static, case, False, kernel)
    assert found.spilled == 0
    assert found.per_element <= most_per_element
    assert found.widths('load')[16] == 0


@of_triton_3_6
def test_backward_kernel_keeps_what_was_won(static):
    found = first_of(static, 'S1 (128, 384, 196, 16)', True, 'bwd')
    assert found.per_element <= 41
    assert found.spilled <= 320
    assert found.widths('load')[16] == 0
    # All loads of a tile are asked for before one is waited for.
    assert found.microseconds <= 400


@of_triton_3_6
@pytest.mark.parametrize(
    ('backward', 'kernel', 'most_per_element', 'most_spilled'),
    [(False, 'single_state_fwd', 38, 0), (True, 'single_state_bwd', 74, 64)],
)
def test_kernels_of_one_state_keep_what_was_won(
    static, backward, kernel, most_per_element, most_spilled
):
    found = first_of(static, 'VMamba-T stage 1, batch 64', backward, kernel)
    assert found.spilled <= most_spilled
    assert found.per_element <= most_per_element
    # Two exponentials and, backward, that of softplus's derivative: nothing is computed twice.
    assert found.kinds['exp2'] == (24 if backward else 16)
    # Channels in words of 64 bits; what a token has of B and C is a number of 16.
    assert found.widths('load')[64] == (6 if backward else 4)
    assert found.widths('load')[16] == 4


def test_registers_of_amd_are_read(static):
    text = '    .vgpr_count:     106\n    .vgpr_spill_count: 3\n'
    assert static.resources_of_amd(text) == (106, 12)
    with pytest.raises(AssertionError, match='nothing of it'):
        static.resources_of_amd('nothing of it')


def test_shuffles_are_told_from_shifts(static):
    kinds = {name: kind_of(name) for name in ('SHFL.BFLY', 'SHF.R.U32')}
    assert kinds == {'SHFL.BFLY': 'shuffle', 'SHF.R.U32': 'select'}


def kind_of(operation):
    return import_module('machine_code').Instruction(operation, '', '').kind


@needs_fake_gpu
@pytest.mark.parametrize(
    'family,configs',
    [
        ('plain_mamba', triton_plan.SHARED_FORWARD_CONFIGS),
        ('vmamba', triton_plan.SINGLE_FORWARD_CONFIGS),
    ],
)
def test_images_of_many_sizes_share_their_kernels(static, monkeypatch, family, configs):
    import family_scans

    keys, launched = set(), 0
    for grid in DETECTOR_GRIDS:
        case = getattr(family_scans, f'_{family}')(1, grid, 192)
        monkeypatch.setitem(family_scans.CASES, 'grid', case)
        for _, launch in family_scans.launches_of('grid', False):
            keys.add(launch.key())
            launched += 1
    # Segments, the link between them and the sum over directions are the other three.
    assert launched == (len(configs) + 3) * len(DETECTOR_GRIDS)
    assert len(keys) == len(configs) + 3


def test_a_miss_is_told_in_words(static):
    class Kernel:
        name, spilled, microseconds, bounds = 'fwd', 8, 71.0, dict(memory=50.0)

    found = static.Pass('', (Kernel,))
    assert static.find_misses('VMamba-T stage 1, batch 64', False, found) == [
        'VMamba-T stage 1, batch 64, forward: fwd spills 8 bytes, allowed 0'
    ]
    Kernel.bounds['memory'] = 40.0
    assert static.find_misses('VMamba-T stage 1, batch 64', False, found)[0] == (
        'VMamba-T stage 1, batch 64, forward: 1.77 times the bound of memory, wanted 1.5'
    )
    case = 'S3 (1, 384, 4200, 16)'
    assert static.find_misses(case, False, found) == [
        f'{case}, forward: 1.00 times as fast as mamba_ssm, wanted 1.5',
        f'{case}, forward: fwd spills 8 bytes, allowed 0',
    ]

"""What the machine code of the scan's kernels has won, and must keep; no GPU is needed."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip('triton', reason='triton is not installed')

from mmvmamba.ops.triton_device import interpreted

pytestmark = pytest.mark.skipif(interpreted(), reason='kernels are made for the interpreter')

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
    config, launch = next(x for x in launches if x[1].name == f'selective_scan_{kernel}_kernel')
    return static.measure_kernel(config, launch)


@pytest.mark.parametrize(
    ('case', 'kernel', 'most_per_element'),
    [
        ('S1 (128, 384, 196, 16)', 'fwd', 12.6),
        ('S3 (1, 384, 4200, 16)', 'segment', 8.8),
        ('PlainMamba-L1 224, batch 64', 'fwd', 11.2),
    ],
)
def test_forward_kernels_keep_what_was_won(static, case, kernel, most_per_element):
    found = first_of(static, case, False, kernel)
    assert found.spilled == 0
    assert found.per_element <= most_per_element
    assert found.widths('load')[16] == 0


def test_backward_kernel_keeps_what_was_won(static):
    found = first_of(static, 'S1 (128, 384, 196, 16)', True, 'bwd')
    assert found.per_element <= 47.5
    assert found.widths('load')[16] == 0


def test_shuffles_are_told_from_shifts(static):
    kinds = {name: kind_of(name) for name in ('SHFL.BFLY', 'SHF.R.U32')}
    assert kinds == {'SHFL.BFLY': 'shuffle', 'SHF.R.U32': 'select'}


def kind_of(operation):
    return import_module('machine_code').Instruction(operation, '', '').kind


def test_images_of_many_sizes_share_their_kernels(static, monkeypatch):
    import family_scans

    keys, launched = set(), 0
    for grid in DETECTOR_GRIDS:
        monkeypatch.setitem(family_scans.CASES, 'grid', family_scans._plain_mamba(1, grid, 192))
        for _, launch in family_scans.launches_of('grid', False):
            keys.add(launch.key())
            launched += 1
    assert launched >= 5 * len(DETECTOR_GRIDS)
    # Three configs, segments and the link between them.
    assert len(keys) == 5


def test_a_miss_is_told_in_words(static):
    class Kernel:
        name, spilled, microseconds = 'fwd', 8, 71.0

    found = static.Pass('', (Kernel,))
    case = 'S3 (1, 384, 4200, 16)'
    assert static.find_misses(case, False, found) == [
        f'{case}, forward: 1.00 times as fast as mamba_ssm, wanted 1.5',
        f'{case}, forward: fwd spills 8 bytes, allowed 0',
    ]

"""How many channels the loops over states take at a time, and the scan with each such number."""

import os
import subprocess
import sys

import pytest

from mmvmamba.ops.cpu.instruction_set import VECTOR_LANES, instruction_set, vector_lanes

pytest.importorskip('numba', reason='kernels for the CPU are compiled by numba')

VARIABLE = 'MMVMAMBA_SCAN_LANES'


@pytest.fixture
def compiled_for(monkeypatch):
    """Has numba compile for a CPU with the features of LLVM's list; 'instruction_set' afresh."""
    from numba.core import config

    def set_features(name, features):
        monkeypatch.setattr(config, 'CPU_NAME', name)
        monkeypatch.setattr(config, 'CPU_FEATURES', features)
        return instruction_set.__wrapped__()

    return set_features


@pytest.mark.parametrize(
    ('features', 'machine', 'expected'),
    [
        ('+avx2,+fma,+avx512f', 'x86_64', 'avx512'),
        ('+avx2,+fma,-avx512f', 'x86_64', 'avx2'),
        ('+avx2', 'AMD64', 'sse'),
        ('', 'x86_64', 'sse'),
        ('+neon', 'aarch64', 'neon'),
        ('+neon', 'arm64', 'neon'),
        ('', 'riscv64', 'other'),
    ],
)
def test_the_features_that_llvm_names_decide(
    features, machine, expected, compiled_for, monkeypatch
):
    monkeypatch.setattr('platform.machine', lambda: machine)
    assert compiled_for('some', features) == expected


def test_a_cpu_that_is_generic_has_no_features(compiled_for, monkeypatch):
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    assert compiled_for('generic', None) == 'sse'


def test_features_are_those_of_this_cpu_unless_numba_is_told_otherwise(compiled_for):
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    found = compiled_for(None, None)
    assert (found == 'avx512') == bool(features.get('avx512f'))
    assert vector_lanes() == VECTOR_LANES[found] or VARIABLE in os.environ


@pytest.mark.parametrize('lanes', [4, 8, 16, 32, 64])
def test_the_variable_wins(lanes, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(lanes))
    assert vector_lanes() == lanes


@pytest.mark.parametrize('value', ['12', '0', '-8', 'avx2', '128', ' 8'])
def test_another_value_is_refused(value, monkeypatch):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ValueError, match=f'{VARIABLE} must be one of 4, 8, 16, 32, 64, got'):
        vector_lanes()


@pytest.mark.full
@pytest.mark.parametrize('lanes', [4, 8, 16, 32, 64])
def test_the_scan_matches_the_reference_with_each_number(lanes, tmp_path):
    """In a process of its own, which compiles kernels of its own."""
    tests = 'one_direction or directions_match or groups or optional or nan or half'
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider'),
            *('tests/ops/test_selective_scan_parity.py', '-k', f'numba and ({tests})'),
        ],
        env={**os.environ, VARIABLE: str(lanes), 'NUMBA_CACHE_DIR': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    names = {path.name for path in tmp_path.rglob('*.nbi')}
    for kernel in ('forward_kernel', 'backward_kernel'):
        assert any(f'{kernel}_{lanes}_lanes' in name for name in names), names

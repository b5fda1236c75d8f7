"""The arithmetic that kernels for the CPU are made of, beside numpy's in float64."""

import numpy as np
import pytest

pytest.importorskip('numba', reason='kernels for the CPU are compiled by numba')

from numba import njit

from mmvmamba.ops.cpu.lanes import (
    FEW,
    LANES,
    exp2,
    load,
    load_few,
    sigmoid,
    softplus,
    store,
    totals_of_four,
)


@njit
def _apply(address, count, powers, softpluses, sigmoids):
    for i in range(0, count, LANES):
        x = load(address, i)
        store(powers, i, exp2(x))
        store(softpluses, i, softplus(x))
        store(sigmoids, i, sigmoid(x))


@njit
def _totals(x, sums):
    a, b = load_few(x, 0), load_few(x, FEW)
    store(sums, 0, totals_of_four(a, b, load_few(x, 2 * FEW), load_few(x, 3 * FEW)))


def results_of(x):
    """Powers of two, softplus and sigmoid."""
    x = np.resize(x, -(-len(x) // LANES) * LANES)
    outputs = [np.empty_like(x) for _ in range(3)]
    _apply(x.ctypes.data, len(x), *outputs)
    return x.astype(np.float64), outputs


def test_relative_errors_are_those_that_the_module_states():
    generator = np.random.default_rng(0)
    signs = generator.choice([-1, 1], 100_000)
    x, outputs = results_of((signs * 80 * generator.random(100_000) ** 4).astype(np.float32))
    # As wrong as the exponent of e is after it was multiplied for a power of two.
    of_e = 2e-7 + 8e-8 * np.abs(x)
    expected = {
        'exp2': (np.exp2(x), 2e-7),
        'softplus': (np.logaddexp(0, x), of_e),
        'sigmoid': (1 / (1 + np.exp(-x)), of_e),
    }
    for (name, (want, allowed)), got in zip(expected.items(), outputs, strict=True):
        assert np.all(np.abs(got - want) <= allowed * want), name


def test_ends_of_the_range():
    nan, infinity = np.float32('nan'), np.float32('inf')
    _, (powers, softpluses, sigmoids) = results_of(
        np.array([nan, infinity, -infinity, 200, -200, 0], np.float32)
    )
    np.testing.assert_array_equal(powers[:6], [nan, infinity, 0, infinity, 0, 1])
    np.testing.assert_array_equal(softpluses[:5], [nan, infinity, 0, 200, 0])
    np.testing.assert_array_equal(sigmoids[:6], [nan, 1, 0, 1, 0, 0.5])


def test_totals_are_in_the_order_of_the_vectors():
    x = np.arange(4 * FEW, dtype=np.float32)
    sums = np.empty(4, np.float32)
    _totals(x, sums)
    np.testing.assert_array_equal(sums, x.reshape(4, FEW).sum(1))

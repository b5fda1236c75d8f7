"""The stored numbers of MambaOut are those of the installed timm."""

import numpy as np
import pytest

from mmvmamba.testing import GoldenCase
from tests.golden.regenerate import CASES, FOLDER, compute, stored_form


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_stored_numbers_are_those_of_timm(name):
    case = GoldenCase(FOLDER / name)
    outputs = compute(case)
    arrays = stored_form(outputs)
    assert set(arrays) == set(case.arrays)
    for key, output in outputs.items():
        case.check(key, output)
    for key, values in arrays.items():
        assert np.shape(values) == case.arrays[key].shape


def test_there_are_cases():
    assert len(CASES) == 8

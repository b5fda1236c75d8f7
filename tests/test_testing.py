"""What golden cases say about their weights beside the filling rule, and the judge of half
precision."""

import pytest
import torch

from mmvmamba.testing import assert_half_close, fill_state_dict
from tests.official_files import golden


def test_golden_weights_are_multiplied_and_left_out_as_the_case_says():
    case = golden('mila', 'micro_64x64')
    plain = fill_state_dict(case.spec['keys'], case.spec['seed'])
    state = case.state_dict()
    assert set(plain) - set(state) == {key for key in plain if key.endswith('rope.rotations')}
    assert case.spec['multiply'] == {'cpe1.weight': 0.25, 'cpe2.weight': 0.25}
    for key, values in state.items():
        factor = 0.25 if key.endswith(('cpe1.weight', 'cpe2.weight')) else 1
        torch.testing.assert_close(values, factor * plain[key], rtol=0, atol=0)


def test_half_precision_may_err_twice_as_much_as_plain_pytorch():
    expected = torch.tensor([1.0, 2.0], dtype=torch.float64)
    plain = (expected + 2**-6).half()
    assert_half_close((expected - 2**-5).half(), plain, expected, 'out')
    with pytest.raises(AssertionError, match=r'out: error 0\.0322 is above 0\.0312, twice that'):
        assert_half_close((expected - 2**-5 - 2**-10).half(), plain, expected, 'out')
    with pytest.raises(AssertionError, match='out: error nan is above'):
        assert_half_close(plain * float('nan'), plain, expected, 'out')
    with pytest.raises(AssertionError, match=r'out: expected torch\.float16 of shape .2,., got'):
        assert_half_close(plain.float(), plain, expected, 'out')

"""What golden cases say about their weights beside the filling rule."""

import torch

from mmvmamba.testing import fill_state_dict
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

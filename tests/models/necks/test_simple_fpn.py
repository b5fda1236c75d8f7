"""ViTDet's pyramid; its numbers are checked with Vim's."""

import pytest
import torch

from mmvmamba.models.necks import SimpleFPN
from mmvmamba.registry import MODELS
from mmvmamba.testing import assert_close, load_filled, make_input


@pytest.mark.parametrize('size', [(4, 4), (5, 7), (2, 3)], ids=str)
def test_levels_have_their_strides(size):
    neck = MODELS.build(dict(type='SimpleFPN', in_channels=16, out_channels=8))
    levels = neck([torch.randn(2, 16, *size)])
    height, width = size
    sides = [(4 * height, 4 * width), (2 * height, 2 * width), size]
    sides += [(height // 2, width // 2)]
    sides += [tuple((side + 1) // 2 for side in sides[-1])]
    assert [level.shape for level in levels] == [(2, 8, *side) for side in sides]


def test_levels_are_named_by_their_strides():
    def names(**settings):
        return {key.split('.')[0] for key in SimpleFPN(16, **settings).state_dict()}

    assert names() == {'simfp_2', 'simfp_3', 'simfp_4', 'simfp_5'}
    assert names(stride=8, scales=(1, 0.5)) == {'simfp_3', 'simfp_4'}


def test_last_levels_subsample_the_one_before():
    levels = SimpleFPN(16, 8, num_outs=6)([torch.randn(1, 16, 8, 8)])
    assert torch.equal(levels[4], levels[3][..., ::2, ::2])
    assert torch.equal(levels[5], levels[4][..., ::2, ::2])


def test_levels_are_normed_over_channels():
    neck = load_filled(SimpleFPN(16, 8).double())
    for name in neck.level_names:
        norm = getattr(neck, name)[-1].norm
        torch.nn.init.ones_(norm.weight)
        torch.nn.init.zeros_(norm.bias)
    for level in neck([make_input((2, 16, 4, 4))]):
        assert_close(level.var(1, correction=0), torch.ones_like(level[:, 0]), 'variance', 1e-3)
        assert level.mean(1).abs().max() < 1e-12


def test_every_parameter_gets_a_gradient():
    neck = SimpleFPN(16, 8)
    sum((level**3).sum() for level in neck([torch.randn(2, 16, 4, 4)])).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(scales=(4, 3)), 'scales must be of 4, 2, 1 and 0.5, got 3'),
        (dict(num_outs=3), 'num_outs must be at least 4, got 3'),
    ],
    ids=str,
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SimpleFPN(16, **settings)


def test_more_than_one_map_is_rejected():
    with pytest.raises(ValueError, match='takes one map, got 2'):
        SimpleFPN(16)([torch.zeros(1, 16, 4, 4)] * 2)

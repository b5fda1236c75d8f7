"""The pyramid of Vim's segmentation models; its numbers are checked with Vim's."""

import pytest
import torch

from mmvmamba.models.necks import ViTFeaturePyramid
from mmvmamba.registry import MODELS

MAPS = [torch.randn(2, 8, 4, 6, generator=torch.Generator().manual_seed(i)) for i in range(4)]


@pytest.mark.parametrize(
    ('stride', 'sides'),
    [(16, [(16, 24), (8, 12), (4, 6), (2, 3)]), (8, [(8, 12), (4, 6), (2, 3), (1, 1)])],
)
def test_levels_have_their_strides(stride, sides):
    neck = MODELS.build(dict(type='ViTFeaturePyramid', in_channels=8, stride=stride)).eval()
    assert [level.shape for level in neck(MAPS)] == [(2, 8, *side) for side in sides]


def test_one_map_stands_for_all():
    neck = ViTFeaturePyramid(8).eval()
    for got, want in zip(neck(MAPS[:1]), neck(MAPS[:1] * 4), strict=True):
        assert torch.equal(got, want)
    assert not torch.equal(neck(MAPS)[2], neck(MAPS[:1])[2])


def test_norm_is_chosen_by_its_config():
    assert isinstance(ViTFeaturePyramid(8).fpn1[1], torch.nn.SyncBatchNorm)
    neck = ViTFeaturePyramid(8, norm_cfg=dict(type='BN')).train()
    assert type(neck.fpn1[1]) is torch.nn.BatchNorm2d
    sum((level**3).sum() for level in neck(MAPS)).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match='stride must be 16 or 8, got 32'):
        ViTFeaturePyramid(8, stride=32)
    with pytest.raises(ValueError, match='takes 1 or 4 maps, got 3'):
        ViTFeaturePyramid(8)(MAPS[:3])

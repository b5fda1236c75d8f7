"""Spatial-Mamba against the numbers of the official models."""

import pytest
import torch

from mmvmamba.layers import ExpandedDownsample, ResidualConvStem
from mmvmamba.models.backbones import SpatialMamba
from mmvmamba.models.backbones.spatial_mamba import SpatialMambaBlock, StructureAwareMixer
from tests.models.backbones.pyramid_cases import (
    DTYPES,
    case_names,
    check_case,
    check_gradients,
    dims_of,
    load,
    split_state,
)
from tests.official_files import golden

WITHOUT = ('train', 'unit', 'mask_rcnn', 'upernet')
FAST = case_names('spatial_mamba', 'micro', without=WITHOUT)


def build(case, **settings):
    kwargs = case.spec['kwargs']
    arch = dict(dims=dims_of(case), depths=kwargs['depths'], mlp_ratio=kwargs['mlp_ratio'])
    return SpatialMamba(arch, in_channels=kwargs['in_chans'], **settings)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', FAST)
def test_outputs_match_official_numbers(name, dtype):
    check_case(build, 'spatial_mamba', name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', sorted(set(case_names('spatial_mamba', '', without=WITHOUT)) - set(FAST))
)
def test_outputs_of_large_variants_match_official_numbers(name):
    check_case(build, 'spatial_mamba', name, torch.float32)


@pytest.mark.parametrize('arch', SpatialMamba.arch_zoo)
def test_rows_have_the_official_keys(arch):
    with torch.device('meta'):
        networks = {
            f'{arch}_224x224': SpatialMamba(arch, final_norm=True),
            f'backbone_{arch}_{"128x160" if arch == "tiny" else "keys"}': SpatialMamba(
                arch, out_norm='LN2d'
            ),
        }
    for name, backbone in networks.items():
        keys = golden('spatial_mamba', name).spec['keys']
        ours = {key: list(value.shape) for key, value in backbone.state_dict().items()}
        assert ours == {k: v for k, v in keys.items() if not k.startswith('head.')}


UNITS = {
    'unit_stem_37x50': lambda: ResidualConvStem(3, 14),
    'unit_downsample_7x6': lambda: ExpandedDownsample(10, 20),
    'unit_block_5x8': lambda: SpatialMambaBlock(18),
    'unit_mixer_6x5': lambda: StructureAwareMixer(20),
}


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', UNITS)
def test_parts_match_official_numbers(name, dtype):
    case = golden('spatial_mamba', name)
    module = load(UNITS[name]().eval(), case.state_dict(), dtype)
    case.check('out', module(case.input().to(dtype)))


def test_gradients_of_the_mixer_match_official_numbers():
    case = golden('spatial_mamba', 'unit_mixer_6x5')
    mixer = load(StructureAwareMixer(20), case.state_dict(), torch.float64)
    x = case.input().requires_grad_()
    check_gradients(case, mixer, mixer(x), x)


def test_training_step_matches_official_numbers():
    case = golden('spatial_mamba', 'micro_train_grad_64x48')
    state, head = split_state(case, 'norm')
    backbone = build(case, out_indices=(3,), final_norm=True)
    model = torch.nn.Module()
    model.backbone, model.head = backbone, torch.nn.Linear(backbone.num_features, 10)
    names = {key if key.startswith('head.') else f'backbone.{key}': v for key, v in head.items()}
    names |= {f'backbone.{key}': value for key, value in state.items()}
    load(model, names, torch.float64).train()
    x = case.input().requires_grad_()
    logits = model.head(backbone(x)[0].mean(dim=(2, 3)))
    case.check('logits', logits)
    # Under the names of the case: those of a flat classifier.
    flat = torch.nn.Module()
    for name, child in (*backbone.named_children(), ('head', model.head)):
        flat.add_module(name, child)
    check_gradients(case, flat, logits, x)
    statistics = dict(backbone.named_buffers())
    stored = [key for key in case.arrays if key.startswith('after.')]
    assert len(stored) == 2 * 8
    for key in stored:
        case.check(key, statistics[key.removeprefix('after.')])


def test_fusion_follows_its_weights_in_evaluation():
    torch.manual_seed(0)
    mixer = StructureAwareMixer(8).eval()
    x = torch.randn(1, 6, 6, 8)
    with torch.no_grad():
        before = mixer(x)
        mixer.state_fusion.kernel_3_1.mul_(2)
        after = mixer(x)
        mixer.state_fusion.kernel_3_1.div_(2)
        again = mixer(x)
    assert (after - before).abs().max() > 0.01 * before.abs().max()
    assert torch.equal(again, before)

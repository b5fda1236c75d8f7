"""Learning rates and weight decays by parameter, against Vim's official recipes and by hand."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmvmamba.engine.layer_decay import parameter_depths
from mmvmamba.models import adapters, backbones  # noqa: F401  registers them
from mmvmamba.registry import MODELS
from tests.models.test_backbone_contract import backbone_classes

GOLDEN = json.loads(
    (Path(__file__).parents[1] / 'golden' / 'vim' / 'optimizer_groups.json').read_text()
)
LR, WEIGHT_DECAY = 1e-3, 0.1

SMALL = {
    'PlainMamba': dict(arch='L1'),
    'PlainMambaAdapter': dict(arch='L1'),
    'VisionMamba': dict(arch=dict(embed_dims=48, num_layers=4)),
    'VimAdapter': dict(arch=dict(embed_dims=192, num_layers=4)),
    'MambaVision': dict(arch='T'),
    'MambaOut': dict(arch='femto'),
    'VisionTransformerCausal': dict(arch='deit_tiny'),
    'VMamba': dict(arch='tiny_s1l8'),
    'SpatialMamba': dict(arch='tiny'),
    'MILA': dict(arch='tiny'),
}


class Model(nn.Module):
    def __init__(self, backbone, **modules):
        super().__init__()
        self.backbone = backbone
        for name, module in modules.items():
            self.add_module(name, module)


def make_backbone(kind):
    return MODELS.build(dict(type=f'mmvmamba.{kind}', **SMALL[kind]))


def multipliers(model, **paramwise):
    """Name to [learning rate, weight decay], relative to those of the optimizer."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor='mmvmamba.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
            paramwise_cfg=paramwise,
        ),
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[group['params'][0]]: [group['lr'] / LR, group['weight_decay'] / WEIGHT_DECAY]
        for group in wrapper.optimizer.param_groups
    }


def official(recipe):
    """The recipe's multipliers for what our backbone has, under its names."""
    groups = {
        name.replace('backbone.net.', 'backbone.'): value
        for name, value in GOLDEN[recipe]['groups'].items()
    }
    pyramid = ('backbone.fpn', 'backbone.simfp')
    return {
        name: value
        for name, value in groups.items()
        if name.startswith('backbone.') and not name.startswith(pyramid)
    }


@pytest.mark.parametrize(
    'recipe,paramwise',
    [
        (
            'segmentation',
            dict(
                layer_decay_rate=0.92, decay_blocks=False, flat_decay_mult=0.0, bias_decay_mult=0.0
            ),
        ),
        (
            'detection',
            dict(layer_decay_rate=0.837, custom_keys={'pos_embed': dict(decay_mult=0.0)}),
        ),
    ],
)
def test_vim_groups_are_the_official_ones(recipe, paramwise):
    model = Model(make_backbone('VisionMamba'))
    got, expected = multipliers(model, **paramwise), official(recipe)
    # The official downstream backbones have no class token, and detection's no final norm.
    extra = {'backbone.cls_token', 'backbone.norm_f.weight'}
    assert got.keys() - extra == expected.keys() - extra
    for name in expected:
        assert got[name] == pytest.approx(expected[name]), name


def test_groups_without_other_rules_keep_the_weight_decay():
    got = multipliers(Model(make_backbone('VisionMamba')), layer_decay_rate=0.5)
    assert {decay for _, decay in got.values()} == {1.0}


def test_every_backbone_is_looked_at():
    assert set(SMALL) == set(backbone_classes())


@pytest.mark.parametrize('kind', SMALL)
def test_depths_rise_along_the_backbone(kind):
    backbone = make_backbone(kind)
    depths, top = parameter_depths(backbone)
    assert set(depths) == {name for name, _ in backbone.named_parameters()}
    assert set(depths.values()) | {top} == set(range(top + 1))
    stem = [name for name, depth in depths.items() if depth == 0]
    starts = ('patch_embed', 'downsample_layers.0', 'pos_embed', 'cls_token')
    assert stem
    assert all(name.startswith(starts) for name in stem)


@pytest.mark.parametrize(
    'kind,blocks,some',
    [
        ('PlainMamba', 24, {'pos_embed': 0, 'layers.0.norm.weight': 1, 'ln1.weight': 25}),
        ('PlainMambaAdapter', 24, {'layers.23.norm.weight': 24, 'up.weight': 25}),
        ('VisionMamba', 4, {'cls_token': 0, 'layers.3.norm.weight': 4, 'norm_f.weight': 5}),
        # Depths 1, 3, 8 and 4.
        (
            'MambaVision',
            16,
            {
                'levels.0.downsample.reduction.0.weight': 2,
                'levels.1.blocks.0.conv1.weight': 2,
                'levels.2.blocks.7.mlp.fc1.weight': 12,
                'levels.3.blocks.0.mlp.fc1.weight': 13,
            },
        ),
        # Depths 3, 3, 9 and 3.
        (
            'MambaOut',
            18,
            {
                'downsample_layers.0.conv1.weight': 0,
                'stages.0.2.fc1.weight': 3,
                'downsample_layers.1.conv.weight': 4,
                'stages.1.0.fc1.weight': 4,
                'stages.3.2.fc1.weight': 18,
            },
        ),
        # Depths 2, 2, 8 and 2.
        (
            'VMamba',
            14,
            {
                'patch_embed.7.weight': 0,
                'layers.0.blocks.1.norm.weight': 2,
                'layers.0.downsample.1.weight': 3,
                'layers.2.blocks.7.norm.weight': 12,
                'layers.3.blocks.1.norm.weight': 14,
            },
        ),
        # Depths 2, 4, 8 and 4, as MILA's.
        (
            'SpatialMamba',
            18,
            {
                'patch_embed.conv1.conv.weight': 0,
                'layers.1.downsample.conv.0.conv.weight': 7,
                'layers.2.blocks.0.cpe1.weight': 7,
                'layers.3.blocks.3.cpe1.weight': 18,
            },
        ),
        (
            'MILA',
            18,
            {
                'patch_embed.conv1.conv.weight': 0,
                'layers.1.downsample.conv.0.conv.weight': 7,
                'layers.2.blocks.0.cpe1.weight': 7,
                'layers.3.blocks.3.cpe1.weight': 18,
            },
        ),
    ],
)
def test_depths_of_each_family(kind, blocks, some):
    depths, top = parameter_depths(make_backbone(kind))
    assert top == blocks + 1
    assert {name: depths[name] for name in some} == some


def test_rates_multiply_with_custom_keys_and_leave_heads_alone():
    model = Model(make_backbone('VisionMamba'), head=nn.Linear(2, 2))
    keys = {'pos_embed': dict(lr_mult=2.0, decay_mult=0.0)}
    got = multipliers(model, layer_decay_rate=0.5, custom_keys=keys)
    assert got['backbone.pos_embed'] == pytest.approx([2 * 0.5**5, 0.0])
    assert got['backbone.layers.3.norm.weight'] == pytest.approx([0.5, 1.0])
    assert got['head.weight'] == [1.0, 1.0]


def test_frozen_parameters_get_no_group():
    backbone = MODELS.build(
        dict(type='mmvmamba.VisionMamba', frozen_stages=2, **SMALL['VisionMamba'])
    )
    got = multipliers(Model(backbone), layer_decay_rate=0.5)
    trained = {name for name, p in Model(backbone).named_parameters() if p.requires_grad}
    assert set(got) == trained
    assert got['backbone.layers.3.norm.weight'][0] == 0.5


def test_mmpretrains_constructor_gives_the_same_rates():
    classifiers = pytest.importorskip('mmpretrain.models')
    model = classifiers.ImageClassifier(dict(type='mmvmamba.MambaOut', arch='test'))
    options = dict(layer_decay_rate=0.5, flat_decay_mult=0.0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        wrapper = build_optim_wrapper(
            model,
            dict(
                constructor='LearningRateDecayOptimWrapperConstructor',
                optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
                paramwise_cfg=options,
            ),
        )
    theirs = {
        group['param_name']: [group['lr'] / LR, group['weight_decay'] / WEIGHT_DECAY]
        for group in wrapper.optimizer.param_groups
    }
    assert theirs == {
        name: pytest.approx(value) for name, value in multipliers(model, **options).items()
    }


@pytest.mark.parametrize('rate', [None, 0, 1.5])
def test_wrong_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r'layer_decay_rate in \(0, 1\], got'):
        multipliers(Model(make_backbone('VisionMamba')), layer_decay_rate=rate)


def test_unknown_models_are_refused():
    with pytest.raises(ValueError, match=r'a backbone with get_layer_depth, .*got Conv2d'):
        multipliers(Model(nn.Conv2d(1, 1, 1)), layer_decay_rate=0.5)
    with pytest.raises(ValueError, match='needs a model with a backbone, got Linear'):
        multipliers(nn.Linear(1, 1), layer_decay_rate=0.5)


def test_a_step_moves_the_top_more_than_the_stem():
    model = Model(make_backbone('VisionMamba'))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor='mmvmamba.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=1.0),
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    moved = {
        name: float((before[name] - p.detach()).abs().mean())
        for name, p in model.named_parameters()
    }
    assert moved['backbone.norm_f.weight'] == pytest.approx(1.0)
    assert moved['backbone.patch_embed.proj.weight'] == pytest.approx(0.5**5, rel=1e-4)

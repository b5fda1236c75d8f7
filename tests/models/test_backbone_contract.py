"""What every registered backbone promises, checked on each of them."""

import copy
import pickle
import re
from inspect import signature

import pytest
import torch
from torch import nn

import mmvmamba.models  # noqa: F401  registers the backbones
from mmvmamba.checkpoint import FAMILIES
from mmvmamba.layers import MLP
from mmvmamba.models.backbones import BaseBackbone
from mmvmamba.registry import BACKBONES
from mmvmamba.testing import assert_close, load_filled
from tests.models.plain_half import PlainHalf, assert_maps_close

PLAIN_MAMBA = dict(
    embed_dims=24,
    num_layers=4,
    num_convs=1,
    layers_with_dwconv=(0,),
    mixer=dict(d_state=4, d_conv=3),
)
# A network of each class that is small enough to train in a test.
ADAPTER = dict(conv_inplane=8, deform_num_heads=4, init_values=0.1)
SMALL = {
    'VMamba': dict(
        arch=dict(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), ssm_ratio=1.0), out_norm='LN2d'
    ),
    'SpatialMamba': dict(arch=dict(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1)), out_norm='LN2d'),
    'MILA': dict(
        arch=dict(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_heads=(1, 2, 3, 4)),
        out_norm='LN2d',
    ),
    'PlainMamba': dict(arch=PLAIN_MAMBA, img_size=64),
    'PlainMambaAdapter': dict(arch=PLAIN_MAMBA, img_size=64, adapter=ADAPTER),
    'VisionMamba': dict(arch=dict(embed_dims=24, num_layers=4), img_size=64),
    'VimAdapter': dict(
        arch=dict(embed_dims=24, num_layers=4),
        img_size=64,
        adapter=ADAPTER,
    ),
    'VisionTransformerCausal': dict(
        arch=dict(embed_dims=24, num_layers=4, num_heads=2), img_size=64
    ),
    'MambaVision': dict(
        arch=dict(dim=8, in_dim=8, depths=(1, 1, 2, 2), num_heads=(2, 4), window_size=(3, 2)),
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
    ),
    'MambaOut': dict(
        arch=dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
    ),
}


def backbone_classes():
    return {
        name: cls
        for name, cls in BACKBONES.module_dict.items()
        if isinstance(cls, type) and issubclass(cls, BaseBackbone)
    }


def build(name, **settings):
    torch.manual_seed(0)
    return BACKBONES.build(dict(type=f'mmvmamba.{name}', **{**SMALL[name], **settings}))


def image(*size, batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, 3, *size)


NAMES = sorted(backbone_classes())
each_backbone = pytest.mark.parametrize('name', NAMES)
each_row = pytest.mark.parametrize(
    ('name', 'arch'),
    [(name, arch) for name, cls in sorted(backbone_classes().items()) for arch in cls.arch_zoo],
)


def test_every_backbone_has_a_small_network_here():
    assert set(SMALL) == set(NAMES)


@each_row
def test_every_row_builds(name, arch):
    settings = {'adapter': dict(deform_num_heads=8)} if arch == 'L3' and 'Adapter' in name else {}
    with torch.device('meta'):
        backbone = backbone_classes()[name](arch=arch, **settings)
    assert sum(p.numel() for p in backbone.parameters()) > 1e5


@each_backbone
@pytest.mark.parametrize('size', [(224, 224), (256, 320), (193, 257), (33, 47)], ids=str)
def test_maps_have_the_promised_shapes_at_any_size(name, size):
    backbone = build(name).eval()
    with torch.no_grad():
        maps = backbone(image(*size, batch=1))
    assert isinstance(maps, tuple) and len(maps) == len(backbone.out_indices) in (1, 4)
    for level in maps:
        assert level.dim() == 4 and level.shape[0] == 1 and level.isfinite().all()
    if len(maps) == 4:
        assert_strides(maps, size, padded='Adapter' in name)


def assert_strides(maps, size, padded):
    for level, stride in zip(maps, (4, 8, 16, 32), strict=True):
        for got, side in zip(level.shape[-2:], size, strict=True):
            side = -(-side // 32) * 32 if padded else side
            # Strided convolutions round up at every step; patches round down.
            assert side // stride <= got <= -(-side // stride), (level.shape, size)


def assert_channels_are_told(backbone):
    with torch.no_grad():
        maps = backbone.eval()(image(64, 64, batch=1))
    assert tuple(level.shape[1] for level in maps) == backbone.out_channels
    return maps


@each_backbone
@pytest.mark.parametrize('batch', [1, 2])
def test_maps_lie_as_heads_elsewhere_want_them(name, batch):
    """Convolutions keep the order of a map in memory, and ``view`` takes one order alone."""
    backbone = build(name)
    for level in backbone(image(64, 96, batch=batch)):
        assert level.is_contiguous()
        head = nn.Conv2d(level.shape[1], 5, 1)
        assert head(level).view(batch, -1).shape[1] == 5 * level[0, 0].numel()


@each_backbone
def test_channels_are_told(name):
    backbone = build(name)
    maps = assert_channels_are_told(backbone)
    assert backbone.num_features == backbone.stage_channels[-1] == maps[-1].shape[1]


@each_backbone
def test_channels_of_chosen_maps_are_told(name):
    for out_indices in ((-1, 1), 2):
        assert_channels_are_told(build(name, out_indices=out_indices))


@each_backbone
def test_features_depend_on_no_setting_of_outputs(name):
    backbone, images = build(name).eval(), image(64, 96)
    indices = [len(backbone.stage_channels) - 1, 0, 1]
    with torch.no_grad():
        pooled, maps = backbone.feature_maps(images, indices)
        backbone.out_indices, backbone.out_type = (0,), 'avg_featmap'
        again, others = backbone.feature_maps(images, indices)
    assert pooled.shape == (2, backbone.num_features) and pooled.isfinite().all()
    assert [value.shape[:2] for value in maps] == [(2, backbone.stage_channels[i]) for i in indices]
    for value in maps:
        height, width = value.shape[2:]
        assert width / height == 96 / 64
    for value, other in zip((pooled, *maps), (again, *others), strict=True):
        assert torch.equal(value, other)


@each_backbone
def test_depths_rise_as_an_image_passes(name):
    backbone, met = build(name).eval(), []
    answers = {key: backbone.get_layer_depth(key) for key, _ in backbone.named_parameters()}
    ((*_, top),) = {tuple(range(number)) for _, number in answers.values()}
    depths = {depth for depth, _ in answers.values()}
    assert depths | {top} == set(range(top + 1))
    for prefix, module in backbone.named_modules():
        for key, _ in module.named_parameters(prefix, recurse=False):
            depth = answers[key][0]
            module.register_forward_pre_hook(lambda *_, depth=depth: met.append(depth))
    with torch.no_grad():
        backbone(image(64, 64, batch=1))
    # Adapters, norms of outputs and all else that is no part of the stream is at the top.
    stream = [depth for depth in met if depth < top]
    assert set(stream) == set(range(top))
    assert stream == sorted(stream)


@each_backbone
def test_depths_are_told_by_names_in_the_whole_model(name):
    backbone = build(name)
    for key, _ in backbone.named_parameters():
        answer = backbone.get_layer_depth(f'backbone.{key}', 'backbone.')
        assert answer == backbone.get_layer_depth(key)
    num_depths = backbone.get_layer_depth(key)[1]
    assert backbone.get_layer_depth('head.fc.weight', 'backbone.') == (num_depths - 1, num_depths)


@each_backbone
def test_family_and_key_patterns_stand_on_the_class(name):
    backbone = build(name)
    assert backbone.family in FAMILIES
    patterns = (*backbone.head_only_keys, *backbone.task_only_keys)
    for key in backbone.state_dict():
        # No weight of the stem or of a block may be missing from a file.
        depth, num_depths = backbone.get_layer_depth(key)
        if 0 < depth < num_depths - 1:
            assert not any(re.match(pattern, key) for pattern in patterns), key


@each_backbone
def test_a_photograph_sized_image(name):
    with torch.no_grad():
        maps = build(name).eval()(image(800, 1333, batch=1))
    assert all(level.isfinite().all() for level in maps)


@each_backbone
def test_every_parameter_gets_a_gradient(name):
    # Deformable attention starts with weights of zero, which no gradient passes, and a square says
    # nothing to what a BatchNorm puts out.
    backbone = load_filled(build(name)).train()
    sum((level**3).mean() for level in backbone(image(64, 64))).backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad.isfinite().all(), f'gradient of {parameter_name} is not finite'
        assert parameter.grad.any(), f'gradient of {parameter_name} is zero'


@each_backbone
def test_one_image_gets_the_gradient_that_it_gets_among_others(name):
    backbone = load_filled(build(name)).eval()
    gradients = []
    for images in (image(64, 96, batch=1), image(64, 96, batch=1).expand(2, -1, -1, -1)):
        images = images.clone().requires_grad_()
        sum((level[:1] ** 3).mean() for level in backbone(images)).backward()
        gradients.append(images.grad[:1])
    assert_close(*gradients, 'gradient of the image', 1e-4)


# How often a value is dropped on the way of an image: after the position embedding, after the
# projection of an attention and twice in an MLP.
DROPOUTS = {
    'PlainMamba': 1,
    'PlainMambaAdapter': 1,
    'VisionMamba': 1,
    'VimAdapter': 1,
    'VisionTransformerCausal': 1 + 4 * 3,
    'MambaVision': 2 * 1 + 4 * 2,
}


def test_every_backbone_with_dropout_is_tried():
    classes = backbone_classes()
    assert set(DROPOUTS) == {n for n in NAMES if 'drop_rate' in signature(classes[n]).parameters}


@pytest.mark.parametrize('name', DROPOUTS)
def test_dropout_acts_where_it_is_said_and_in_training_only(name):
    plain, backbone, x = build(name).eval(), build(name, drop_rate=0.5).eval(), image(64, 64)
    with torch.no_grad():
        for got, want in zip(backbone(x), plain(x), strict=True):
            assert torch.equal(got, want)
    dropped = []
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _, inputs, output: dropped.append(output == 0))
    backbone.train()(x)
    assert len(dropped) == DROPOUTS[name]
    for zeros in dropped:
        assert 0.4 < zeros.double().mean() < 0.6


@pytest.mark.parametrize('name', ['VMamba', 'SpatialMamba', 'MILA'])
def test_mlps_have_the_width_that_is_asked_for(name):
    backbone = build(name, arch=dict(SMALL[name]['arch'], mlp_ratio=2.5))
    mlps = [module for module in backbone.modules() if isinstance(module, MLP)]
    assert len(mlps) == sum(SMALL[name]['arch']['depths'])
    for mlp in mlps:
        assert mlp.fc1.out_features == int(2.5 * mlp.fc1.in_features)


@each_backbone
def test_training_modes_return_the_backbone(name):
    backbone = build(name)
    assert backbone.train() is backbone and backbone.eval() is backbone


@each_backbone
@pytest.mark.parametrize('frozen_stages', [0, 2])
def test_frozen_stages_stay_frozen(name, frozen_stages):
    backbone = build(name, frozen_stages=frozen_stages).train()
    stages = backbone.freezable_stages()
    members = [member for stage in stages[: frozen_stages + 1] for member in stage]
    frozen = {
        id(p)
        for member in members
        for p in (member.parameters() if isinstance(member, nn.Module) else [member])
    }
    assert frozen
    for parameter in backbone.parameters():
        assert parameter.requires_grad is (id(parameter) not in frozen)
    modules = [member for member in members if isinstance(member, nn.Module)]
    assert all(not child.training for module in modules for child in module.modules())
    assert backbone.training


@each_backbone
def test_norm_eval_keeps_batch_statistics(name):
    backbone = build(name, norm_eval=True).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(image(64, 64))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


@each_backbone
def test_recomputation_changes_nothing(name):
    gradients = []
    for with_cp in (False, True):
        backbone = build(name, with_cp=with_cp).train()
        loss = sum(level.square().mean() for level in backbone(image(64, 64)))
        loss.backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()} | {'loss': loss})
    for key, want in gradients[0].items():
        assert_close(gradients[1][key], want, key, tolerance=1e-5)


@each_backbone
def test_recomputation_does_recompute(name):
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    backbone = build(name, with_cp=True).train()
    for module in backbone.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm | nn.BatchNorm2d):
            module.register_forward_hook(count)
    loss = sum(level.mean() for level in backbone(image(64, 64)))
    forward_calls = calls
    loss.backward()
    assert calls > forward_calls


@each_backbone
def test_state_dict_round_trip_copy_and_pickle(name):
    backbone, x = build(name).eval(), image(64, 64)
    others = [build(name), copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))]
    for parameter in others[0].parameters():
        nn.init.zeros_(parameter)
    others[0].load_state_dict(backbone.state_dict())
    with torch.no_grad():
        want = backbone(x)
        for other in others:
            for got, level in zip(other.eval()(x), want, strict=True):
                assert torch.equal(got, level)


@each_backbone
def test_half_precision_errs_at_most_twice_as_much_as_plain_pytorch(name):
    backbone, x = build(name).eval(), image(64, 64)
    with torch.no_grad():
        want = backbone(x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            got = backbone(x)
        with PlainHalf():
            plain = backbone(x)
    assert_maps_close(got, plain, want, name)


@each_backbone
def test_settings_given_are_left_as_they_were(name):
    settings = copy.deepcopy(SMALL[name])
    backbone_classes()[name](**settings)
    assert settings == SMALL[name]


@each_backbone
def test_an_unknown_row_is_named(name):
    with pytest.raises(ValueError, match=r"arch must be one of .*, got 'nosuch'"):
        backbone_classes()[name](arch='nosuch')


@pytest.mark.slow
@each_backbone
def test_compiled_model_gives_the_same_maps(name):
    backbone, x = build(name).eval(), image(64, 64)
    with torch.no_grad():
        want = backbone(x)
        got = torch.compile(backbone, fullgraph=True)(x)
    for compiled, level in zip(got, want, strict=True):
        assert_close(compiled, level, name, tolerance=1e-4)


@pytest.mark.parametrize('channels', [1, 4])
@pytest.mark.parametrize('name', NAMES)
def test_images_of_other_channels_are_refused(name, channels):
    message = rf'images must be \(N, 3, H, W\), got \(2, {channels}, 64, 64\)'
    with pytest.raises(ValueError, match=message):
        build(name)(torch.zeros(2, channels, 64, 64))
    assert build(name, in_channels=channels)(torch.zeros(2, channels, 64, 64))


@each_backbone
def test_the_blocks_that_are_sharded_are_those_that_run(name):
    """FSDP gathers a block's parameters when it is called; one that is not would stay spread."""
    backbone = build(name)
    called = []
    for block in backbone.blocks_in_order():
        block.register_forward_hook(lambda module, *_: called.append(module))
    backbone(image(64, 64))
    assert called == backbone.blocks_in_order() != []

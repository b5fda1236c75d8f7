"""MambaVision against the numbers of the official models, part by part and whole."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvmamba.layers import Attention
from mmvmamba.models.backbones import MambaVision
from mmvmamba.models.backbones.mambavision import (
    Block,
    ConvBlock,
    Downsample,
    MambaVisionMixer,
    PatchEmbed,
    TokenStage,
)
from mmvmamba.models.backbones.mambavision_convs import convolve_row
from mmvmamba.models.backbones.mambavision_windows import window_partition, window_reverse
from mmvmamba.testing import GoldenCase, assert_close, load_filled

GOLDEN = Path(__file__).parents[2] / 'golden' / 'mambavision'
DTYPES = [torch.float64, torch.float32]
each_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=str)
TINY = dict(dim=8, in_dim=4, depths=(1, 1, 3, 2), num_heads=(2, 4), window_size=(4, 2))
# Cases of the official variants, and the row that each is.
OFFICIAL = {
    'mamba_vision_T_224': 'T',
    'mamba_vision_T_512x224': 'T',
    'mamba_vision_T2_224': 'T2',
    'mamba_vision_S_224': 'S',
    'mamba_vision_B_224': 'B',
    'mamba_vision_B_21k_224': 'B',
    'mamba_vision_L_224': 'L',
    'mamba_vision_L_21k_224': 'L',
    'mamba_vision_L2_224': 'L2',
    'mamba_vision_L2_512_21k_512': 'L2_512',
    'mamba_vision_L3_256_21k_256': 'L3_256',
    'mamba_vision_L3_512_21k_512': 'L3_512',
}
MANIFEST_ONLY = ['mamba_vision_B_21k_224', 'mamba_vision_L_21k_224']
FAST = ['mamba_vision_T_224']
SMALL = ['64x64', '75x110', '96x64', '160x224']
DOWNSTREAM = ['small_64x96', 'small_100x70', 'small_ls_64x96']
SLOW_DOWNSTREAM = ['seg_T_512x512', 'det_T_320x448']
# Up to 740 million parameters.
LARGEST = [name for name in OFFICIAL if name.startswith(('mamba_vision_L2', 'mamba_vision_L3'))]


def load(module, case, dtype):
    """Loads a module strictly from the values of a case."""
    return assign(module, case.state_dict(), dtype)


def assign(module, state, dtype):
    """Gives a module its values, without a copy: the largest variant has 740M parameters."""
    names = [name for name, _ in module.named_buffers() if name.endswith('num_batches_tracked')]
    counters = {name: torch.tensor(0) for name in names}
    values = {name: value.to(dtype) for name, value in state.items()}
    module.load_state_dict({**counters, **values}, assign=True)
    return module.eval()


def arch_of(settings):
    arch = {key: settings[key] for key in ('dim', 'in_dim', 'depths', 'num_heads', 'window_size')}
    return {**arch, 'layer_scale': settings.get('layer_scale')}


def build(case, arch=None):
    settings = case.spec['kwargs']
    is_downstream = case.spec['source'] == 'downstream'
    return MambaVision(
        arch or arch_of(settings),
        mlp_ratio=settings['mlp_ratio'],
        layer_scale_conv=settings.get('layer_scale_conv'),
        out_norm='LN2d' if is_downstream else None,
        final_norm=not is_downstream,
    )


def check_classifier(case, dtype, arch=None):
    state = case.state_dict()
    weight, bias = (state.pop(f'head.{name}').to(dtype) for name in ('weight', 'bias'))
    with torch.device('meta'):
        backbone = build(case, arch)
    backbone = assign(backbone, state, dtype)
    del state
    x = case.input().to(dtype)
    with torch.no_grad():
        maps = backbone.stage_maps(x)
        pooled = backbone.norm(maps[3]).mean(dim=(2, 3))
        outputs = backbone(x) if arch is None else None
    for i, level in enumerate(maps):
        case.check(f'feature{i}', level)
    case.check('pooled', pooled)
    case.check('logits', F.linear(pooled, weight, bias))
    if outputs is not None:
        wanted = [*maps[:3], backbone.norm(maps[3])]
        for got, level in zip(outputs, wanted, strict=True):
            assert torch.equal(got, level)


def check_downstream(name, dtype):
    case = GoldenCase(GOLDEN / f'downstream_{name}')
    backbone = load(build(case), case, dtype)
    with torch.no_grad():
        for i, level in enumerate(backbone(case.input().to(dtype))):
            case.check(f'out{i}', level)


UNITS = {
    'mixer_k3': lambda: MambaVisionMixer(20),
    'mixer_k4_expand2': lambda: MambaVisionMixer(12, d_state=4, d_conv=4, expand=2),
    'attention': lambda: Attention(20, 4),
    'attention_qk_norm': lambda: Attention(20, 4, use_qk_norm=True),
    'block_attention': lambda: Block(20, Attention(20, 4)),
    'block_mixer': lambda: Block(20, MambaVisionMixer(20), layer_scale=1e-5),
    'conv_block': lambda: ConvBlock(6),
    'conv_block_ls': lambda: ConvBlock(6, layer_scale=1e-5),
    'patch_embed': lambda: PatchEmbed(3, 4, 6),
    'downsample': lambda: Downsample(6),
}


@each_dtype
@pytest.mark.parametrize('name', UNITS)
def test_part_matches_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / f'unit_{name}')
    case.check('output', load(UNITS[name](), case, dtype)(case.input().to(dtype)))


def test_window_partition_matches_official_numbers_and_has_an_inverse():
    case = GoldenCase(GOLDEN / 'unit_window_partition')
    x = case.input()
    windows = window_partition(x, (4, 4))
    case.check('output', windows)
    assert torch.equal(window_reverse(windows, (4, 4), x.shape[2:]), x)
    assert torch.equal(window_reverse(window_partition(x, (2, 3)), (2, 3), x.shape[2:]), x)


@each_dtype
def test_padded_stage_matches_official_numbers(dtype):
    case = GoldenCase(GOLDEN / 'unit_level_padded')
    mixers = [MambaVisionMixer(8), MambaVisionMixer(8), Attention(8, 2)]
    stage = TokenStage([Block(8, mixer) for mixer in mixers], Downsample(8), window_size=5)
    stage = load(stage, case, dtype)
    x = stage(case.input().to(dtype), lambda block, *args: block(*args))
    case.check('output', stage.downsample(x))


@each_dtype
@pytest.mark.parametrize('name', [*(f'a_{size}' for size in SMALL), 'b_64x64', 'b_61x90'])
def test_small_classifier_matches_official_numbers(name, dtype):
    check_classifier(GoldenCase(GOLDEN / f'small_{name}'), dtype)


@each_dtype
@pytest.mark.parametrize('name', DOWNSTREAM)
def test_small_downstream_backbone_matches_official_numbers(name, dtype):
    check_downstream(name, dtype)


@each_dtype
@pytest.mark.parametrize(
    'name',
    [
        pytest.param('seg_T_512x512', marks=pytest.mark.slow),
        # Six minutes in float64.
        pytest.param('det_T_320x448', marks=pytest.mark.full),
    ],
)
def test_downstream_backbone_matches_official_numbers(name, dtype):
    check_downstream(name, dtype)


@each_dtype
@pytest.mark.parametrize('name', FAST)
def test_variant_matches_official_numbers(name, dtype):
    check_classifier(GoldenCase(GOLDEN / name), dtype, OFFICIAL[name])


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.full if name in LARGEST else pytest.mark.slow)
        for name in OFFICIAL
        if name not in FAST + MANIFEST_ONLY
    ],
)
def test_large_variant_matches_official_numbers(name):
    # Their float64 logits are checked through the loader, in tests/checkpoint.
    check_classifier(GoldenCase(GOLDEN / name), torch.float32, OFFICIAL[name])


@pytest.mark.parametrize('name', OFFICIAL)
def test_key_manifest_is_the_official_one(name):
    case = GoldenCase(GOLDEN / name)
    with torch.device('meta'):
        backbone = MambaVision(OFFICIAL[name], final_norm=True)
    keys = {key: list(value.shape) for key, value in backbone.state_dict().items()}
    width = backbone.out_channels[-1]
    head = {'head.weight': [1000, width], 'head.bias': [1000]}
    assert {**keys, **head} == case.spec['keys']
    num_parameters = sum(p.numel() for p in backbone.parameters()) + 1000 * (width + 1)
    assert num_parameters == case.spec['num_params']


def test_every_golden_case_is_used():
    used = {
        *(f'unit_{name}' for name in (*UNITS, 'window_partition', 'level_padded')),
        *(f'small_a_{size}' for size in SMALL),
        *('small_b_64x64', 'small_b_61x90'),
        *(f'downstream_{name}' for name in DOWNSTREAM + SLOW_DOWNSTREAM),
        *OFFICIAL,
    }
    assert used == {path.stem for path in GOLDEN.glob('*.json')}


def test_stochastic_depth_grows_over_all_blocks():
    backbone = MambaVision(TINY, drop_path_rate=0.6)
    rates = [
        getattr(block.drop_path, 'p', 0) for level in backbone.levels for block in level.blocks
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


@pytest.mark.parametrize(('coins', 'together'), [(2, True), (None, False)], ids=str)
def test_windows_of_an_image_drop_together_on_request(coins, together):
    torch.manual_seed(0)
    block = Block(4, Attention(4, 2), drop_path_rate=0.5).train()
    windows = torch.randn(1, 3, 4).expand(16, 3, 4)
    images = block(windows, coins).unflatten(0, (2, 8))
    assert torch.equal(images, images[:, :1].expand_as(images)) is together


def test_image_drop_path_reaches_the_blocks(monkeypatch):
    seen = []
    forward = Block.forward
    monkeypatch.setattr(
        Block, 'forward', lambda self, x, coins: seen.append(coins) or forward(self, x, coins)
    )
    for use_image_drop_path in (False, True):
        MambaVision(TINY, use_image_drop_path=use_image_drop_path)(torch.randn(3, 3, 64, 64))
    assert seen == [None] * 5 + [3] * 5


def test_clipped_windows_are_windows_of_the_map():
    x = torch.randn(1, 3, 96, 64, dtype=torch.float64)
    outputs = []
    for window, use_clipped_windows in (((112, 56), True), ((4, 2), True), ((4, 2), False)):
        backbone = MambaVision(
            TINY, window_size=window, use_clipped_windows=use_clipped_windows, out_indices=(2,)
        )
        with torch.no_grad():
            outputs.append(load_filled(backbone.double()).eval()(x)[0])
    assert torch.equal(outputs[1], outputs[2])
    stage = load_filled(MambaVision(TINY).double()).eval().levels[2]
    # The whole map, 6 x 4, is one window: nothing is padded.
    whole = copy.deepcopy(stage)
    whole.window_size, whole.use_clipped_windows = 112, True
    x = torch.randn(2, 32, 6, 4, dtype=torch.float64)
    tokens = window_partition(x, (6, 4))
    with torch.no_grad():
        for block in stage.blocks:
            tokens = block(tokens)
        want = window_reverse(tokens, (6, 4), (6, 4))
        got = whole(x, lambda block, *args: block(*args))
        padded = stage(x, lambda block, *args: block(*args))
    assert torch.equal(got, want)
    assert not torch.allclose(padded, want)


def test_window_size_may_be_written_as_upstream():
    with torch.device('meta'):
        short = MambaVision('T', window_size=(112, 56))
        long = MambaVision('T', window_size=(8, 8, 112, 56))
    sizes = [[level.window_size for level in backbone.levels[2:]] for backbone in (short, long)]
    assert sizes == [[112, 56]] * 2


@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('use_qk_norm', [True, False])
def test_attention_is_built_as_asked(qkv_bias, use_qk_norm):
    with torch.device('meta'):
        backbone = MambaVision('T', qkv_bias=qkv_bias, use_qk_norm=use_qk_norm)
    layers = [module for module in backbone.modules() if isinstance(module, Attention)]
    # The second half of the last two stages, of 8 and 4 blocks.
    assert len(layers) == 4 + 2
    for layer in layers:
        assert (layer.qkv.bias is not None) == qkv_bias
        for norm in (layer.q_norm, layer.k_norm):
            assert isinstance(norm, torch.nn.LayerNorm) == use_qk_norm


def test_attention_dropout_rests_in_evaluation():
    x = torch.randn(2, 9, 8)
    layers = [load_filled(Attention(8, 2, attn_drop_rate=rate)) for rate in (0.0, 0.5)]
    assert torch.equal(layers[1].eval()(x), layers[0].eval()(x))
    torch.manual_seed(0)
    assert not torch.allclose(layers[1].train()(x), layers[0](x))


def test_mamba_step_sizes_have_one_bias():
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    twice, once = (
        load_filled(MambaVisionMixer(16, use_mamba_dt_init=flag).double()) for flag in (False, True)
    )
    with torch.no_grad():
        twice.dt_proj.bias.div_(2)
        assert_close(once(x), twice(x), 'mixer')
        twice.dt_proj.bias.mul_(2)
        assert not torch.allclose(once(x), twice(x))


def test_initial_values_are_those_of_the_release():
    torch.manual_seed(0)
    backbone = MambaVision(TINY)
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std() < 0.03
            assert module.bias is None or not module.bias.any()
    mixer = backbone.levels[2].blocks[0].mixer
    assert_close(mixer.A_log.exp(), torch.arange(1.0, 9).expand(16, 8), 'A')
    assert (mixer.D == 1).all()


def test_mamba_initial_steps_lie_in_their_range():
    torch.manual_seed(0)
    backbone = MambaVision(TINY, use_mamba_dt_init=True)
    backbone.init_weights()
    steps = F.softplus(backbone.levels[2].blocks[0].mixer.dt_proj.bias)
    assert 1e-4 <= steps.min() < steps.max() <= 0.1001


def test_recomputation_leaves_batch_statistics_alone():
    x = torch.randn(2, 3, 64, 64)
    states = []
    for with_cp in (False, True):
        backbone = load_filled(MambaVision(TINY, with_cp=with_cp)).train()
        sum(level.sum() for level in backbone(x)).backward()
        states.append(backbone.state_dict())
    for key, want in states[0].items():
        assert torch.equal(states[1][key], want), key


def test_outputs_follow_out_indices():
    x = torch.randn(1, 3, 64, 64)
    whole = load_filled(MambaVision(TINY)).eval()
    part = load_filled(MambaVision(TINY, out_indices=(-2, 0))).eval()
    with torch.no_grad():
        maps = whole(x)
        got = part(x)
    assert len(got) == 2
    assert torch.equal(got[0], maps[2]) and torch.equal(got[1], maps[0])


@pytest.mark.parametrize('out_norm', ['BN', 'SyncBN'])
def test_batch_norm_may_be_the_output_norm(out_norm):
    backbone = MambaVision(TINY, out_norm=out_norm, out_indices=(1, 3))
    names = {name.split('.')[0] for name in backbone.state_dict() if name.startswith('outnorm')}
    assert names == {'outnorm1', 'outnorm3'}
    assert isinstance(backbone.outnorm1, nn.BatchNorm2d | nn.SyncBatchNorm)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='M'), r"arch must be one of .*'T2'.*, got 'M'"),
        (dict(arch=dict(dim=8)), r"needs the keys .*'depths'.* got \['dim'\]"),
        (dict(arch={**TINY, 'depths': (1, 1, 1)}), r'depths must have 4 entries, got \(1, 1, 1\)'),
        (dict(arch={**TINY, 'num_heads': (3, 4)}), r'num_heads must divide the width 32, got 3'),
        (dict(window_size=(14,)), r'window_size must be two positive numbers.* got \(14,\)'),
        (dict(window_size=(14, 0)), r'window_size must be two positive numbers.* got \(14, 0\)'),
        (dict(out_norm='ln'), r"out_norm must be one of .* or None, got 'ln'"),
        (dict(out_indices=(4,)), r'out_indices must lie in \[-4, 4\), got \(4,\)'),
        (dict(final_norm=True, out_indices=(0,)), r'final_norm needs stage 3 .* \(0,\)'),
        (dict(final_norm=True, out_norm='BN'), r"final_norm needs .* out_norm 'BN'"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(settings, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        MambaVision(**settings)


@pytest.mark.parametrize('taps', [3, 4])
def test_convolution_of_a_row_is_that_of_its_tokens(taps):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 9, dtype=torch.float64)
    weight = torch.randn(6, 1, taps, dtype=torch.float64)
    want = F.conv1d(x, weight, padding='same', groups=6)
    assert_close(convolve_row(x, weight), want, 'row')

"""MambaOut against the numbers of the official models and of timm's own variants."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvmamba.models.backbones import MambaOut, MambaOutNeck, mambaout
from mmvmamba.models.backbones.mambaout import GatedCNNBlock
from mmvmamba.testing import GoldenCase, assert_close, load_filled

GOLDEN = Path(__file__).parents[2] / 'golden' / 'mambaout'
CASES = sorted(path.stem for path in GOLDEN.glob('*.json'))
FAST = [name for name in CASES if name.startswith(('micro', 'timm_test', 'femto'))]
DTYPES = [torch.float64, torch.float32]
each_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=str)
TINY = dict(depths=(1, 1, 2, 1), dims=(8, 12, 16, 20))
# Prefixes of timm's names and those of the original release, in the order they are tried.
TIMM_NAMES = [
    ('stem.', 'downsample_layers.0.'),
    ('head.norm.', 'norm.'),
    ('head.pre_logits.fc.', 'head.fc1.'),
    ('head.pre_logits.norm.', 'head.norm.'),
    ('head.fc.', 'head.fc2.'),
]


def original_name(key):
    for timm, original in TIMM_NAMES:
        if key.startswith(timm):
            return original + key.removeprefix(timm)
    _, stage, part, *rest = key.split('.')
    parts = ['downsample_layers', stage] if part == 'downsample' else ['stages', stage]
    return '.'.join(parts + rest)


def with_original_names(case, values):
    """A dict by the names of a case, under the names of the original release."""
    is_timm = case.spec['keys_style'].startswith('timm')
    return {original_name(k): v for k, v in values.items()} if is_timm else values


def split_state(state):
    """The parts of the backbone, of the neck and of the linear classifier."""
    neck_names = {'norm': 'norm', 'head.fc1': 'fc1', 'head.norm': 'inner_norm'}
    parts = {'backbone': {}, 'neck': {}, 'head': {}}
    for key, value in state.items():
        module, leaf = key.rsplit('.', 1)
        if module in neck_names:
            parts['neck'][f'{neck_names[module]}.{leaf}'] = value
        elif module == 'head.fc2':
            parts['head'][leaf] = value
        else:
            parts['backbone'][key] = value
    return parts


def build(case):
    settings, variant = case.spec['kwargs'], case.spec['variant']
    if variant.startswith('custom'):
        names = ('depths', 'dims', 'conv_ratio')
        arch = {name: settings[name] for name in names if name in settings}
    else:
        arch = 'test' if variant == 'test_mambaout' else variant.removeprefix('mambaout_')
    backbone = MambaOut(arch, kernel_size=settings.get('kernel_size', 7))
    has_inner_norm = 'head.norm.weight' in with_original_names(case, case.spec['keys'])
    return backbone, MambaOutNeck(backbone.out_channels[-1], with_inner_norm=has_inner_norm)


def check_case(name, dtype):
    case = GoldenCase(GOLDEN / name)
    backbone, neck = build(case)
    parts = split_state(with_original_names(case, case.state_dict()))
    backbone.to(dtype).eval().load_state_dict(parts['backbone'])
    neck.to(dtype).eval().load_state_dict(parts['neck'])
    x = case.input().to(dtype)
    with torch.no_grad():
        stem = backbone.downsample_layers[0](x.permute(0, 2, 3, 1))
        maps = backbone(x)
        (pre_logits,) = neck(maps)
        head = {key: value.to(dtype) for key, value in parts['head'].items()}
        logits = F.linear(pre_logits, **head)
        pooled = neck.norm(maps[3].mean(dim=(2, 3)))
    outputs = {f'stage{i + 1}': level for i, level in enumerate(maps)}
    outputs.update(stem=stem.permute(0, 3, 1, 2), pre_logits=pre_logits, logits=logits)
    if 'pooled' in case.arrays:
        outputs['pooled'] = pooled
        normed = with_output_norms(backbone, parts['backbone'], x)
        outputs.update({f'stage{i + 1}_ln': level for i, level in enumerate(normed)})
    assert {key.split('.')[0] for key in case.arrays} == set(outputs)
    for key, value in outputs.items():
        case.check(key, value)


def with_output_norms(backbone, state, x):
    """The maps of the same network with fresh norms at its outputs."""
    row = dict(depths=[len(stage) for stage in backbone.stages], dims=backbone.out_channels)
    block = backbone.stages[0][0]
    row['conv_ratio'] = block.conv.out_channels / backbone.out_channels[0]
    normed = MambaOut(row, kernel_size=block.conv.kernel_size[0], out_norm='LN2d').to(x.dtype)
    missing, unexpected = normed.eval().load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith('outnorm') for name in missing)
    with torch.no_grad():
        return normed(x)


@each_dtype
@pytest.mark.parametrize('name', FAST)
def test_outputs_match_official_numbers(name, dtype):
    check_case(name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in CASES if name not in FAST])
def test_outputs_of_large_variants_match_official_numbers(name):
    # Their float64 logits are checked through the loader, in tests/checkpoint.
    check_case(name, torch.float32)


@pytest.mark.parametrize('name', CASES)
def test_key_manifest_is_the_official_one(name):
    case = GoldenCase(GOLDEN / name)
    with torch.device('meta'):
        backbone, neck = build(case)
    num_classes = case.spec['kwargs'].get('num_classes', 1000)
    want = split_state(with_original_names(case, case.spec['keys']))
    head = nn.Linear(neck.out_channels, num_classes, device='meta')
    total = 0
    for part, module in (('backbone', backbone), ('neck', neck), ('head', head)):
        assert {key: list(x.shape) for key, x in module.state_dict().items()} == want[part]
        total += sum(p.numel() for p in module.parameters())
    assert total == case.spec['parameters']


BLOCKS = {
    'official': dict(),
    'widths_cut_to_integers': dict(dim=13),
    'partial_convolution': dict(conv_ratio=0.5, kernel_size=3),
    'everything_convolved': dict(expansion=2.0, conv_ratio=2.0),
    'timm': dict(act='silu', expansion=3.0, conv_ratio=1.5, layer_scale=1e-5),
}


def block_and_input(settings, batch=5):
    settings = dict(dict(dim=16), **settings)
    torch.manual_seed(0)
    x = torch.randn(batch, 7, 9, settings['dim'], dtype=torch.float64)
    return load_filled(GatedCNNBlock(**settings).double()), x


@pytest.mark.parametrize('images_per_chunk', [1, 2, 5])
@pytest.mark.parametrize('settings', BLOCKS.values(), ids=BLOCKS)
def test_inference_path_equals_the_plain_one(settings, images_per_chunk, monkeypatch):
    block, x = block_and_input(settings)
    image_bytes = 7 * 9 * block.fc1.out_features * x.element_size()
    monkeypatch.setattr(mambaout, 'CACHE_BYTES', images_per_chunk * image_bytes)
    before = x.clone()
    with torch.no_grad():
        got = block.forward_inference(x)
        assert_close(got, block.forward_plain(x), 'block', tolerance=1e-12)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ('training', 'grad', 'path'),
    [
        (False, False, 'forward_inference'),
        (False, True, 'forward_plain'),
        (True, False, 'forward_plain'),
        (True, True, 'forward_plain'),
    ],
)
def test_inference_path_is_taken_without_gradients_only(training, grad, path, monkeypatch):
    block, x = block_and_input({})
    called = []
    for name in ('forward_plain', 'forward_inference'):
        monkeypatch.setattr(block, name, lambda x, name=name: called.append(name) or x)
    with torch.set_grad_enabled(grad):
        block.train(training)(x)
    assert called == [path]


def test_inference_path_keeps_what_submodules_put_out():
    block, x = block_and_input({})
    seen = {}
    for name in ('fc1', 'conv'):
        layer = getattr(block, name)
        layer.register_forward_hook(lambda _, __, y, name=name: seen.update({name: (y, y.clone())}))
    with torch.no_grad():
        block.eval()(x)
    assert set(seen) == {'fc1', 'conv'}
    for output, copy in seen.values():
        assert torch.equal(output, copy)


def test_gradients_of_a_block_are_right():
    block, x = block_and_input(dict(dim=3, kernel_size=3, layer_scale=1e-5), batch=1)
    x = x[:, :3, :2].clone().requires_grad_()
    parameters = tuple(block.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x, *parameters))


def test_stochastic_depth_grows_over_all_blocks():
    backbone = MambaOut(TINY, drop_path_rate=0.4)
    rates = [getattr(b.drop_path, 'p', 0) for stage in backbone.stages for b in stage]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_outputs_follow_out_indices():
    x = torch.randn(1, 3, 64, 64)
    whole = load_filled(MambaOut(TINY)).eval()
    part = load_filled(MambaOut(TINY, out_indices=(2, 0))).eval()
    with torch.no_grad():
        maps, got = whole(x), part(x)
    assert torch.equal(got[0], maps[2]) and torch.equal(got[1], maps[0]) and len(got) == 2


def test_output_norms_leave_the_stream_alone():
    x = torch.randn(1, 3, 64, 64)
    backbone = load_filled(MambaOut(TINY, out_norm='LN2d', out_indices=(1, 3))).eval()
    names = {name.split('.')[0] for name in backbone.state_dict() if name.startswith('outnorm')}
    assert names == {'outnorm1', 'outnorm3'}
    with torch.no_grad():
        want = backbone(x)[1]
        backbone.outnorm1.weight.zero_()
        assert torch.equal(backbone(x)[1], want)


def test_initial_values_are_those_of_the_release():
    torch.manual_seed(0)
    for module in (MambaOut('test'), MambaOutNeck(64)):
        module.init_weights()
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                assert 0.015 < layer.weight.std() < 0.025
                assert not layer.bias.any()


def test_layer_scale_starts_at_its_value():
    assert (MambaOut('test').stages[0][0].ls.gamma == 1e-5).all()


def test_neck_dropout_acts_in_training_only():
    maps = (torch.randn(2, 12, 3, 3),)
    plain, dropping = (load_filled(MambaOutNeck(12, dropout=rate)) for rate in (0.0, 0.5))
    assert torch.equal(dropping.eval()(maps)[0], plain.eval()(maps)[0])
    torch.manual_seed(0)
    dropped = (dropping.train()(maps)[0] == 0).double().mean()
    assert 0.3 < dropped < 0.7


def test_neck_takes_the_last_map():
    neck = load_filled(MambaOutNeck(12))
    first, last = torch.randn(2, 6, 6, 6), torch.randn(2, 12, 3, 3)
    assert torch.equal(neck((first, last))[0], neck(last)[0])
    assert neck(last)[0].shape == (2, 48)
    wide = MambaOutNeck(12, mlp_ratio=5)
    assert wide(last)[0].shape == (2, wide.out_channels) == (2, 60)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='femtoo'), r"arch must be one of .*, got 'femtoo'; did you mean 'femto'\?"),
        (dict(arch=dict(depths=(1, 1, 1, 1))), r"needs the keys \['depths', 'dims'\]"),
        (dict(arch={**TINY, 'dims': (8, 8)}), r'depths and dims must have 4 entries each, got'),
        (dict(arch={**TINY, 'act': 'relu'}), r"act must be one of \['gelu', 'silu'\], got 'relu'"),
        (dict(arch={**TINY, 'conv_ratio': 3.0}), r'conv_ratio must lie in \(0, expansion 2.66'),
        (dict(kernel_size=4), r'kernel_size must be odd, got 4'),
        (dict(out_norm='BN'), r"out_norm must be 'LN2d' or None, got 'BN'"),
        (dict(out_indices=(4,)), r'out_indices must lie in \[-4, 4\), got \(4,\)'),
    ],
    ids=str,
)
def test_bad_arguments_are_named(settings, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        MambaOut(**settings)

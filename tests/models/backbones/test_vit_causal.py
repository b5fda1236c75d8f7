"""The Transformer with one switch: which tokens a token sees."""

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.layers import Attention
from mmvmamba.models.backbones import VisionTransformerCausal
from mmvmamba.testing import assert_close, load_filled

TINY = dict(embed_dims=16, num_layers=3, num_heads=2)


def build(**settings):
    settings = dict(dict(arch=TINY, img_size=64), **settings)
    return load_filled(VisionTransformerCausal(**settings).double()).eval()


def image(height=64, width=64, batch=2):
    torch.manual_seed(0)
    return torch.randn(batch, 3, height, width, dtype=torch.float64)


@pytest.mark.parametrize('causal', [False, True], ids=['visible', 'causal'])
def test_attention_equals_its_formula(causal):
    layer = load_filled(Attention(12, 3, causal=causal).double())
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    q, k, v = layer.qkv(x).view(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / 2
    if causal:
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    want = layer.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 5, 12))
    got = layer(x)
    assert_close(got, want, 'attention', tolerance=1e-12)
    parameters = [x, *layer.parameters()]
    grads = [torch.autograd.grad(y.square().sum(), parameters) for y in (got, want)]
    for i, (a, b) in enumerate(zip(*grads, strict=True)):
        assert_close(a, b, f'gradient {i}', tolerance=1e-12)


@pytest.mark.parametrize('class_token', ['last', 'none'])
@pytest.mark.parametrize('patch', [0, 5, 15])
def test_a_causal_token_sees_no_later_patch(patch, class_token):
    backbone, x = build(causal=True, class_token=class_token, out_type='raw'), image()
    changed = x.clone()
    row, column = divmod(patch, 4)
    changed[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 1
    with torch.no_grad():
        difference = (backbone(changed)[0] - backbone(x)[0]).abs().amax(dim=(0, 2))
    assert (difference[:patch] == 0).all()
    assert (difference[patch:] > 1e-6).all()


@pytest.mark.parametrize('class_token', ['first', 'last', 'none'])
def test_a_fully_visible_token_sees_every_patch(class_token):
    backbone, x = build(class_token=class_token, out_type='raw'), image()
    changed = x.clone()
    changed[:, :, -16:, -16:] += 1
    with torch.no_grad():
        difference = (backbone(changed)[0] - backbone(x)[0]).abs().amax(dim=(0, 2))
    assert (difference > 1e-6).all()


def test_class_token_of_causal_mode_stands_last():
    assert build(causal=True).class_token == 'last'
    assert build().class_token == 'first'


@pytest.mark.parametrize(('class_token', 'place'), [('first', 0), ('last', -1)])
def test_outputs_are_parts_of_the_sequence(class_token, place):
    x = image(48, 80)
    raw, cls_token, mean, featmap = (
        build(class_token=class_token, out_type=out_type)(x)[0]
        for out_type in ('raw', 'cls_token', 'avg_featmap', 'featmap')
    )
    assert raw.shape == (2, 3 * 5 + 1, 16) and featmap.shape == (2, 16, 3, 5)
    assert torch.equal(cls_token, raw[:, place])
    patches = raw[:, 1:] if class_token == 'first' else raw[:, :-1]
    assert torch.equal(featmap.flatten(2).transpose(1, 2), patches)
    assert_close(mean, featmap.mean(dim=(2, 3)), 'mean', tolerance=1e-12)


def test_place_of_the_class_token_is_no_matter_when_all_is_visible():
    first, last = (build(class_token=place, out_type='cls_token') for place in ('first', 'last'))
    state = first.state_dict()
    state['pos_embed'] = state['pos_embed'].roll(-1, dims=1)
    last.load_state_dict(state)
    with torch.no_grad():
        assert_close(last(image())[0], first(image())[0], 'class token', tolerance=1e-10)


@pytest.mark.parametrize('class_token', ['first', 'last', 'none'])
def test_position_embedding_is_resized_around_the_class_token(class_token):
    backbone = build(class_token=class_token)
    own = backbone.pos_embed
    assert backbone._position_embedding((4, 4)).shape == own.shape
    assert torch.equal(backbone._position_embedding((4, 4)), own)
    resized = backbone._position_embedding((3, 5))
    first, last = (class_token == 'first', class_token == 'last')
    patches = own[:, first : 17 - last] if class_token != 'none' else own
    want = F.interpolate(patches.transpose(1, 2).reshape(1, 16, 4, 4), size=(3, 5), mode='bicubic')
    got = resized[:, first : 16 - last] if class_token != 'none' else resized
    assert_close(got, want.flatten(2).transpose(1, 2), 'positions', tolerance=1e-12)
    if first:
        assert torch.equal(resized[:, 0], own[:, 0])
    if last:
        assert torch.equal(resized[:, -1], own[:, -1])


@pytest.mark.parametrize('class_token', ['first', 'last', 'none'])
def test_checkpoint_of_another_image_size_is_resized(class_token):
    small, large = (build(class_token=class_token, img_size=side) for side in (64, 96))
    large.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert_close(large(image(96, 96))[0], small(image(96, 96))[0], 'map', tolerance=1e-12)


def test_rows_are_deit():
    for arch, millions in (('deit_tiny', 5.524), ('deit_small', 21.666)):
        with torch.device('meta'):
            backbone = VisionTransformerCausal(arch, causal=True)
        # As published, less the classifier.
        assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, 1e-3)


@pytest.mark.parametrize(
    'settings', [{}, dict(patch_size=32, mlp_ratio=2, qkv_bias=False)], ids=str
)
def test_equals_the_public_deit(settings):
    timm = pytest.importorskip('timm')
    theirs = load_filled(timm.create_model('deit_tiny_patch16_224', depth=2, **settings)).eval()
    arch = dict(embed_dims=192, num_layers=2, num_heads=3)
    ours = VisionTransformerCausal(arch, out_type='raw', **settings).eval()
    state = theirs.state_dict()
    ours.load_state_dict({k: v for k, v in state.items() if not k.startswith('head')})
    x = image(224, 224, batch=1).float()
    with torch.no_grad():
        assert_close(ours(x)[0], theirs.forward_features(x), 'tokens')


def test_final_norm_may_be_left_out():
    normed, plain = build(), build(final_norm=False)
    assert plain.norm is None
    with torch.no_grad():
        tokens = plain(image())[0].movedim(1, -1)
        assert_close(normed.norm(tokens).movedim(-1, 1), normed(image())[0], 'map', tolerance=1e-12)


def test_stochastic_depth_grows_over_the_blocks():
    backbone = VisionTransformerCausal(TINY, drop_path_rate=0.2)
    rates = [getattr(block.drop_path, 'p', 0) for block in backbone.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_initial_values_are_those_of_deit():
    torch.manual_seed(0)
    backbone = VisionTransformerCausal(TINY, img_size=224)
    backbone.init_weights()
    for tensor in (backbone.pos_embed, backbone.blocks[0].attn.qkv.weight):
        assert 0.015 < tensor.std() < 0.025
    assert backbone.cls_token.any() and not backbone.blocks[0].attn.qkv.bias.any()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='tiny'), r"arch must be one of .* got 'tiny'"),
        (dict(class_token='middle'), r"class_token must be one of .* got 'middle'"),
        (dict(causal=True, class_token='first'), r"with causal=True, got 'first'"),
        (dict(out_type='map'), r"out_type must be one of .* got 'map'"),
        (dict(class_token='none', out_type='cls_token'), r"must not be 'cls_token'"),
        (dict(img_size=8), r'must hold a patch of 16 x 16 pixels, got \(8, 8\)'),
    ],
    ids=str,
)
def test_bad_arguments_are_named(settings, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        VisionTransformerCausal(**settings)


def test_an_image_without_a_patch_is_refused():
    with pytest.raises(ValueError, match=r'sides of 16 pixels or more, got \(2, 3, 64, 15\)'):
        build()(image(64, 15))

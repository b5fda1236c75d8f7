"""What is special to Vim beyond the numbers of the official models."""

import re

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import StochasticDepth

from mmvmamba.layers import resize_position_grid
from mmvmamba.models.backbones import VisionMamba
from mmvmamba.testing import assert_close, load_filled, make_input
from tests.models.plain_half import PlainHalf, assert_maps_close

TINY = dict(embed_dims=24, num_layers=4)


def small_model(seed=0, **settings):
    torch.manual_seed(seed)
    settings = {'arch': TINY, 'img_size': 64, **settings}
    return VisionMamba(**settings)


def image(*size, dtype=torch.float32):
    return make_input((2, 3, *size)).to(dtype)


@pytest.mark.parametrize('size', [(64, 64), (33, 47), (96, 48), (16, 16)], ids=str)
@pytest.mark.parametrize('class_token', ['middle', 'head', 'double', 'none'])
@pytest.mark.parametrize('settings', [{}, dict(stride=8)], ids=['stride16', 'stride8'])
def test_map_of_any_size_holds_the_patches_in_raster_order(settings, class_token, size):
    settings = dict(settings, class_token=class_token)
    model = small_model(**settings, out_indices=(0, -1)).eval()
    raw = small_model(**settings, out_indices=(0, -1), out_type='raw').eval()
    height, width = ((side - 16) // model.stride + 1 for side in size)
    patches = height * width
    tokens = {
        'middle': [patches // 2],
        'head': [0],
        'double': [0, patches + 1],
        'none': [],
    }[class_token]
    places = [place for place in range(patches + len(tokens)) if place not in tokens]
    for level, sequence in zip(model(image(*size)), raw(image(*size)), strict=True):
        assert level.shape == (2, 24, height, width)
        assert sequence.shape == (2, patches + len(tokens), 24)
        assert torch.equal(level.flatten(2).transpose(1, 2), sequence[:, places])


def test_vectors_are_taken_from_the_sequence():
    sequence = small_model(out_type='raw').eval()(image(64, 64))[0]
    vector = small_model(out_type='cls_token').eval()(image(64, 64))[0]
    mean = small_model(out_type='avg_featmap').eval()(image(64, 64))[0]
    assert torch.equal(vector, sequence[:, 8])
    assert_close(mean, (sequence.sum(1) - sequence[:, 8]) / 16, 'mean of patches')


def test_blocks_before_the_last_give_the_stream_with_their_output():
    model = small_model(out_indices=(0, 2), out_type='raw').eval()
    blocks = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _, inputs, output: blocks.append(output))
    outputs = model(image(64, 64))
    for i, output in zip((0, 2), outputs, strict=True):
        assert torch.equal(output, sum(blocks[i]))
    assert model.norm_f is None


def test_drop_path_rates_grow_to_the_final_one():
    model = small_model(drop_path_rate=0.3)
    paths = [layer.drop_path for layer in model.layers] + [model.drop_path]
    rates = [path.p if isinstance(path, StochasticDepth) else 0 for path in paths]
    # A path drops the output of the block before; nothing comes before the first block.
    assert rates == pytest.approx([0, 0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize('block', [0, 2, 3])
def test_a_dropped_path_takes_the_output_of_the_block_before(block):
    dropped, without = small_model().train(), small_model().train()
    paths = [*dropped.layers[1:], dropped]
    paths[block].drop_path = StochasticDepth(1.0, mode='row')
    torch.nn.init.zeros_(without.layers[block].mixer.out_proj.weight)
    assert_close(dropped(image(64, 64))[0], without(image(64, 64))[0], 'last map')
    assert_close(dropped.eval()(image(64, 64))[0], small_model().eval()(image(64, 64))[0], 'eval')


def test_sum_without_norm_is_not_dropped():
    model = small_model(last_layer_process='add')
    want = model.eval()(image(64, 64))[0]
    model.drop_path = StochasticDepth(1.0, mode='row')
    assert torch.equal(model.train()(image(64, 64))[0], want)


def test_half_precision_keeps_the_residual_stream_in_float32():
    model = small_model().eval()
    want = model(image(64, 64))
    with PlainHalf():
        plain = model(image(64, 64))
    model = model.to(torch.bfloat16)
    blocks = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _, inputs, output: blocks.append(output))
    got = model(image(64, 64, dtype=torch.bfloat16))
    for hidden, residual in blocks:
        assert hidden.dtype == torch.bfloat16 and residual.dtype == torch.float32
    assert got[0].dtype == torch.bfloat16
    assert_maps_close(got, plain, want, 'vim')


@pytest.mark.parametrize('use_rms_norm', [True, False])
@pytest.mark.parametrize('use_rope', [True, False])
def test_half_precision_runs_with_every_norm_and_rope(use_rms_norm, use_rope):
    settings = dict(use_rms_norm=use_rms_norm, use_rope=use_rope, out_indices=(0, 1, 2, 3))
    model = small_model(**settings).eval()
    want = model(image(48, 80))
    with PlainHalf():
        plain = model(image(48, 80))
    got = model.to(torch.bfloat16)(image(48, 80, dtype=torch.bfloat16))
    assert_maps_close(got, plain, want, 'vim')


@pytest.mark.parametrize('size', [(64, 64), (48, 80)], ids=str)
def test_rope_of_another_size_is_that_of_a_model_made_for_it(size):
    settings = dict(use_rope=True, class_token='head', with_pos_embed=False)
    model = load_filled(small_model(**settings)).eval()
    tables = dict(model.rope.named_buffers(prefix='rope'))
    own = load_filled(small_model(**settings, img_size=size))
    for module in (model, own):
        module.rope = type(module.rope)(24, module.grid)
    assert tables.keys() == {'rope.freqs_cos', 'rope.freqs_sin'}
    assert_close(model(image(*size))[0], own.eval()(image(*size))[0], 'map')


def checkpoint_of(**settings):
    return load_filled(small_model(**settings)).state_dict()


@pytest.mark.parametrize(
    ('source', 'settings', 'dropped'),
    [
        ({}, {}, 8),
        ({}, dict(arch=dict(TINY, class_token='none')), 8),
        (dict(class_token='head'), dict(arch=dict(TINY, class_token='head')), 0),
        (dict(class_token='head', use_rope=True), dict(use_rope=True), 0),
        ({}, dict(position_resize='upstream'), 0),
    ],
    ids=['middle', 'arch without', 'head', 'first release', 'upstream rule'],
)
def test_checkpoint_with_class_token_fits_a_model_without(source, settings, dropped):
    state = checkpoint_of(**source)
    model = small_model(class_token='none', last_layer_process='add', **settings)
    model.load_state_dict(state)
    kept = [place for place in range(17) if place != dropped]
    assert torch.equal(model.pos_embed, state['pos_embed'][:, kept])
    assert torch.equal(model.layers[3].norm.weight, state['layers.3.norm.weight'])


def test_checkpoint_with_two_class_tokens_fits_a_model_without():
    state = checkpoint_of(class_token='double')
    model = small_model(class_token='none')
    model.load_state_dict(state)
    assert torch.equal(model.pos_embed, state['pos_embed'][:, 1:-1])


def test_checkpoint_of_another_size_brings_no_rotation_tables():
    state = checkpoint_of(use_rope=True, class_token='none')
    model = small_model(use_rope=True, class_token='none', img_size=96)
    tables = {name: table.clone() for name, table in model.rope.named_buffers()}
    model.load_state_dict(state)
    for name, table in model.rope.named_buffers():
        assert torch.equal(table, tables[name])
    want = resize_position_grid(state['pos_embed'], (4, 4), (6, 6))
    assert torch.equal(model.pos_embed, want)


def test_checkpoint_is_left_as_it_was():
    state = checkpoint_of()
    before = {name: value.clone() for name, value in state.items()}
    small_model(class_token='none', img_size=96, last_layer_process='add').load_state_dict(state)
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in state)


@pytest.mark.parametrize(
    ('source', 'settings', 'message'),
    [
        (dict(class_token='none'), {}, 'cls_token'),
        (dict(use_rope=True), {}, 'rope.freqs_cos'),
        (dict(img_size=(48, 80)), {}, 'pos_embed'),
    ],
    ids=['no token', 'rope', 'grid that cannot be guessed'],
)
def test_checkpoint_that_does_not_fit_is_rejected(source, settings, message):
    with pytest.raises(RuntimeError, match=message):
        small_model(**settings).load_state_dict(checkpoint_of(**source))


def test_initial_values_follow_the_official_recipe():
    model = small_model(arch=dict(embed_dims=192, num_layers=4))
    # LeCun's standard deviation for 3 * 16 * 16 inputs, over 0.88 (timm 0.4.12).
    assert model.patch_embed.proj.weight.std().item() == pytest.approx(0.0410, rel=0.01)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.2)
    mixer = model.layers[1].mixer
    bound = 384**-0.5
    assert mixer.out_proj.weight.abs().max().item() == pytest.approx(bound / 2, rel=0.01)
    assert mixer.x_proj_b.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert torch.equal(mixer.A_b_log[5], torch.arange(1.0, 17).log())
    assert (mixer.D_b == 1).all()


def test_backward_step_sizes_start_as_asked():
    official, like_forward = (
        small_model(mixer=dict(use_backward_dt_init=use)).layers[0].mixer for use in (False, True)
    )
    assert (official.dt_proj_b.bias == 0).all()
    for proj in (official.dt_proj, like_forward.dt_proj, like_forward.dt_proj_b):
        step = F.softplus(proj.bias)
        assert step.min() * 1.001 >= 1e-3 and step.max() <= 0.1001
        assert step.std() > 0.01


def test_layer_pairs_take_any_size_and_rope():
    model = small_model(use_layer_pairs=True, mixer=dict(scan='none'), use_rope=True)
    assert model.eval()(image(48, 80))[0].shape == (2, 24, 3, 5)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(class_token='tail'), r"class_token must be one of \['middle', .*got 'tail'"),
        (dict(out_type='map'), r"out_type must be one of \['featmap', .*got 'map'"),
        (dict(out_type='cls_token', class_token='none'), 'needs a class token'),
        (dict(feature='stream'), r"feature must be one of .*got 'stream'"),
        (dict(last_layer_process='norm'), r"last_layer_process must be one of .*got 'norm'"),
        (dict(position_resize='bicubic'), r"position_resize must be one of .*got 'bicubic'"),
        (dict(mixer=dict(scan='v3')), r"scan must be one of \['v2', 'v1', 'none'\], got 'v3'"),
        (dict(use_layer_pairs=True, out_indices=(1, 3)), 'last one alone in out_indices'),
        (dict(use_rope=True, class_token='double'), 'one class token or none, got two'),
        (dict(img_size=15), 'img_size must be 16 or more, got 15'),
        (dict(out_indices=4), 'out_indices must lie in'),
        (dict(arch='tinyplus'), "did you mean 'tiny_plus'"),
        (dict(arch=dict(embed_dims=24)), 'num_layers'),
        (dict(arch=dict(TINY, depth=4)), 'depth'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        small_model(**settings)


@pytest.mark.parametrize('shape', [(1, 1, 64, 64), (1, 4, 64, 64), (1, 3, 64, 15)], ids=str)
def test_images_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=rf'images must .*got {re.escape(str(shape))}'):
        small_model()(torch.zeros(shape))


def test_frozen_stem_holds_tokens_and_positions():
    model = small_model(frozen_stages=1, class_token='double').train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    stem = {'cls_token_head', 'cls_token_tail', 'pos_embed'}
    assert stem <= frozen
    others = {name.split('.')[0] for name in frozen - stem}
    assert others == {'patch_embed', 'layers'}
    assert all(name.startswith('layers.0.') for name in frozen if name.startswith('layers.'))

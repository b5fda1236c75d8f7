"""Position tables: where class tokens stand in them, and how they are resized."""

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.layers import (
    class_token_places,
    insert_tokens,
    remove_tokens,
    resize_position_embedding,
    resize_position_grid,
)
from mmvmamba.testing import assert_close, make_input

PLACES = [
    ('middle', 16, (8,)),
    ('middle', 9, (4,)),
    ('middle', 1, (0,)),
    ('head', 9, (0,)),
    ('double', 9, (0, 10)),
    ('none', 9, ()),
]


def bicubic(patches, old_grid, new_grid):
    """The definition: channels first, a map, PyTorch's bicubic, and back."""
    maps = patches.permute(0, 2, 1).reshape(1, -1, *old_grid)
    maps = F.interpolate(maps, size=new_grid, mode='bicubic', align_corners=False, antialias=False)
    return maps.flatten(2).permute(0, 2, 1)


@pytest.mark.parametrize(('class_token', 'num_patches', 'places'), PLACES)
def test_class_tokens_stand_where_the_official_code_puts_them(class_token, num_patches, places):
    assert class_token_places(class_token, num_patches) == places
    patches = torch.arange(1.0, num_patches + 1).reshape(1, -1, 1).expand(2, -1, 3)
    tokens = [torch.full((1, 1, 3), -1.0 - i) for i in range(len(places))]
    sequence = insert_tokens(patches, tokens, places)
    assert sequence.shape == (2, num_patches + len(places), 3)
    for i, place in enumerate(places):
        assert (sequence[:, place] == -1 - i).all()
    assert torch.equal(remove_tokens(sequence, places), patches)


@pytest.mark.parametrize('new_grid', [(6, 6), (3, 5), (1, 1), (4, 8)], ids=str)
@pytest.mark.parametrize('old_grid', [(4, 4), (2, 7)], ids=str)
@pytest.mark.parametrize('class_token', ['middle', 'head', 'double', 'none'])
def test_token_aware_rule_moves_the_tokens_and_resizes_the_rest(class_token, old_grid, new_grid):
    num_old, num_new = old_grid[0] * old_grid[1], new_grid[0] * new_grid[1]
    old_places = class_token_places(class_token, num_old)
    new_places = class_token_places(class_token, num_new)
    table = make_input((1, num_old + len(old_places), 8))
    resized = resize_position_embedding(table, old_grid, new_grid, class_token)
    assert torch.equal(resized[:, list(new_places)], table[:, list(old_places)])
    kept_old = [i for i in range(table.shape[1]) if i not in old_places]
    kept_new = [i for i in range(resized.shape[1]) if i not in new_places]
    assert len(kept_new) == num_new
    assert_close(resized[:, kept_new], bicubic(table[:, kept_old], old_grid, new_grid), 'patches')


@pytest.mark.parametrize(('class_token', 'extra'), [('middle', 1), ('head', 1), ('double', 2)])
def test_upstream_rule_keeps_the_first_entries_whatever_they_are(class_token, extra):
    table = make_input((1, 16 + extra, 8))
    resized = resize_position_embedding(table, (4, 4), (6, 6), class_token, rule='upstream')
    assert torch.equal(resized[:, :extra], table[:, :extra])
    assert_close(resized[:, extra:], bicubic(table[:, extra:], (4, 4), (6, 6)), 'patches')
    aware = resize_position_embedding(table, (4, 4), (6, 6), class_token)
    assert torch.equal(aware, resized) is (class_token == 'head')


def test_same_grid_gives_the_same_tensor():
    table = make_input((1, 17, 8))
    for rule in ('token_aware', 'upstream'):
        assert resize_position_embedding(table, (4, 4), (4, 4), 'middle', rule) is table
    assert resize_position_grid(table[:, 1:], (4, 4), (2, 8)).shape == (1, 16, 8)


def test_half_precision_is_interpolated_in_float32():
    table = make_input((1, 17, 8)).bfloat16()
    got = resize_position_embedding(table, (4, 4), (7, 5), 'middle')
    want = resize_position_embedding(table.float(), (4, 4), (7, 5), 'middle')
    assert torch.equal(got, want.bfloat16())


def test_gradients_reach_every_entry():
    table = make_input((1, 17, 8)).requires_grad_()
    resize_position_embedding(table, (4, 4), (7, 5), 'middle').square().sum().backward()
    assert (table.grad != 0).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(old_grid=(4, 5)), r'\(4, 5\) must have 20 entries of patches, got 16'),
        (dict(class_token='none'), r'\(4, 4\) must have 16 entries of patches, got 17'),
        (dict(class_token='tail'), r"class_token must be one of \['middle', .*, got 'tail'"),
        (dict(rule='bilinear'), r"rule must be one of \['token_aware', 'upstream'\], got 'bil"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(arguments, message):
    settings = dict(old_grid=(4, 4), new_grid=(6, 6), class_token='middle')
    with pytest.raises(ValueError, match=message):
        resize_position_embedding(make_input((1, 17, 8)), **{**settings, **arguments})

"""Vim's adapter around the blocks of Vim; its numbers are checked with Vim's."""

import pytest
import torch

from mmvmamba.models.adapters import VimAdapter
from mmvmamba.models.backbones import VisionMamba
from mmvmamba.testing import assert_close, load_filled, make_input

SETTINGS = dict(arch=dict(embed_dims=24, num_layers=4), img_size=64)
IMAGE = make_input((2, 3, 64, 96)).float()
# Of Vim's rows: no rotation, and the directions are averaged.
USUAL = dict(use_rope=False, use_divide_out=True)


def stream_of_adapter(**mixing):
    """The weights, and the tokens behind the last block as a map, if injectors add nothing."""
    adapter = VimAdapter(**SETTINGS, **mixing, adapter=dict(deform_num_heads=4, conv_inplane=8))
    load_filled(adapter).eval()
    for interaction in adapter.interactions:
        torch.nn.init.zeros_(interaction.injector.gamma)
    adapter.pyramid = lambda c1, c, x, geometry: x.transpose(1, 2).unflatten(2, geometry.grid)
    with torch.no_grad():
        return adapter.state_dict(), adapter(IMAGE)


@pytest.mark.parametrize(
    'mixing', [USUAL, dict(USUAL, use_rope=True), dict(USUAL, use_divide_out=False)], ids=str
)
def test_blocks_are_those_of_vim_with_the_same_settings(mixing):
    state, got = stream_of_adapter(**mixing)
    alone = VisionMamba(**SETTINGS, **mixing, class_token='none', last_layer_process='add').eval()
    alone.load_state_dict({key: state[key] for key in alone.state_dict()})
    with torch.no_grad():
        assert_close(got, alone(IMAGE)[0], 'stream', tolerance=1e-5)
    _, usual = stream_of_adapter()
    assert torch.equal(got, usual) == (mixing == USUAL)

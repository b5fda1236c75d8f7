from functools import partial

import pytest
import torch

from mmvmamba.apis.bare_models import bare_config, build_bare
from mmvmamba.layers.attention import Attention
from mmvmamba.ops.scan_order import cross_orders, snake_orders
from mmvmamba.visualization.recording import Scan, record_attention, record_scans

IMAGE = torch.zeros(1, 3, 64, 64)


@pytest.fixture(autouse=True)
def _plain_scans(monkeypatch):
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'torch')


def backbone_of(family):
    torch.manual_seed(0)
    return build_bare(bare_config(f'configs/toy/cls_{family}.py')).backbone


@pytest.mark.parametrize(
    ('family', 'directions'),
    [('plain_mamba', 4), ('vim', 2), ('vmamba', 4), ('mambavision', 1), ('spatial_mamba', 1)],
)
def test_each_direction_visits_every_place_once(family, directions):
    for scan in record_scans(backbone_of(family), IMAGE):
        assert len(scan.paths) == directions
        places = torch.arange(scan.grid[0] * scan.grid[1])
        assert all(torch.equal(path.sort().values, places) for path in scan.paths)
        assert scan.steps.shape[:2] == scan.paths.shape
        assert (scan.steps > 0).all()


def test_paths_are_those_of_the_family():
    first = record_scans(backbone_of('vmamba'), IMAGE)[0]
    assert torch.equal(first.paths, cross_orders(*first.grid))
    first = record_scans(backbone_of('plain_mamba'), IMAGE)[0]
    assert torch.equal(first.paths, snake_orders(*first.grid)[0])


def test_a_class_token_is_no_place_of_the_image():
    forward, backward = record_scans(backbone_of('vim'), IMAGE)[0].paths
    assert torch.equal(forward, torch.arange(len(forward)))
    assert torch.equal(backward, forward.flip(0))


def test_decay_is_the_product_of_the_steps_between():
    steps = torch.tensor([[[0.1], [0.2], [0.3], [0.4]]])
    scan = Scan((2, 2), torch.tensor([[0, 1, 3, 2]]), steps, torch.tensor([[[-1.0, -2.0]]]))
    left = scan.decay(3)[0]

    def share(total):
        return (torch.exp(torch.tensor(-total)) + torch.exp(torch.tensor(-2 * total))) / 2

    want = torch.stack([share(0.5), share(0.3), torch.tensor(0.0), torch.tensor(1.0)])
    assert torch.allclose(left, want)


def test_attention_is_what_the_module_computes():
    backbone = backbone_of('mambavision')
    inputs = {}

    def note(name, module, args, out):
        inputs[name] = (module, args[0])

    for name, module in backbone.named_modules():
        if isinstance(module, Attention):
            module.register_forward_hook(partial(note, name))
    found = record_attention(backbone, torch.randn(1, 3, 64, 64))
    assert [item.name for item in found] == list(inputs)
    for item in found:
        assert torch.allclose(item.weights.sum(-1), torch.ones(item.weights.shape[:2]), atol=1e-5)
        module, x = inputs[item.name]
        # With values that are the same for all heads, the average map gives the average output.
        v = module.qkv(x).unflatten(-1, (3, module.num_heads, -1))[:, :, 2]
        module.qkv = _Shared(module.qkv, v[:, :, :1].expand_as(v))
        module.proj = torch.nn.Identity()
        out = module(x).unflatten(-1, v.shape[2:]).mean(2)
        assert torch.allclose(item.weights @ v[:, :, 0], out, atol=1e-5)


class _Shared(torch.nn.Module):
    """Queries and keys of a projection, and values of its own."""

    def __init__(self, qkv, values):
        super().__init__()
        self.qkv, self.values = qkv, values

    def forward(self, x):
        parts = self.qkv(x).unflatten(-1, (3, *self.values.shape[2:])).clone()
        parts[:, :, 2] = self.values
        return parts.flatten(2)


@pytest.mark.parametrize(('record', 'what'), [(record_scans, 'scan'), (record_attention, 'atten')])
def test_a_family_without_is_refused(record, what):
    with pytest.raises(ValueError, match=f'MambaOut has no s.* {what}'):
        record(backbone_of('mambaout'), IMAGE)

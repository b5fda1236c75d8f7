"""What evaluation on a GPU does in other ways; on the CPU here, with the operators' definitions."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from mmvmamba.fake_gpu import OperatorLog
from mmvmamba.layers.evaluation import forget_weights, held_by_graph, kept_of_weights, linear
from mmvmamba.models import backbones
from mmvmamba.ops import tables
from mmvmamba.ops.fused import op as fused
from mmvmamba.testing import assert_close, assert_half_close, load_filled

SMALL_VIM = dict(arch=dict(embed_dims=24, num_layers=3), img_size=64)
MAMBAVISION = dict(dim=8, in_dim=8, depths=(1, 1, 2, 2), num_heads=(2, 4), window_size=(3, 2))
MAMBAOUT = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
VMAMBA = dict(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1))
PLAIN_MAMBA = dict(embed_dims=24, num_layers=3, num_convs=1, layers_with_dwconv=(1,))
MODELS = {
    'vim': lambda: backbones.VisionMamba(**SMALL_VIM, out_indices=(0, 2)),
    'vim, one set': lambda: backbones.VisionMamba(**SMALL_VIM, mixer=dict(scan='v1')),
    'vim, one way': lambda: backbones.VisionMamba(
        **SMALL_VIM, mixer=dict(scan='none', layer_scale=0.5), use_rms_norm=False, use_rope=True
    ),
    'plain_mamba': lambda: backbones.PlainMamba(PLAIN_MAMBA, img_size=64, out_indices=(0, 1, 2)),
    'mambavision': lambda: backbones.MambaVision(MAMBAVISION),
    'mambavision, scaled': lambda: backbones.MambaVision(
        dict(MAMBAVISION, layer_scale=0.5), layer_scale_conv=0.5
    ),
    'mambaout': lambda: backbones.MambaOut(MAMBAOUT),
    'mambaout, rw': lambda: backbones.MambaOut(
        dict(MAMBAOUT, conv_ratio=1.5, act='silu', layer_scale=0.5, with_stem_norm=False)
    ),
    'vmamba': lambda: backbones.VMamba(dict(VMAMBA, ssm_ratio=1.0)),
    'vmamba, gated': lambda: backbones.VMamba(
        dict(VMAMBA, with_gate=True, mlp_ratio=0.0, with_patches=True, ssm_ratio=2.0)
    ),
    'vit': lambda: backbones.VisionTransformerCausal(
        dict(embed_dims=24, num_layers=2, num_heads=2), img_size=64
    ),
    'mila': lambda: backbones.MILA(
        dict(dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4))
    ),
}


def build(name):
    torch.manual_seed(0)
    model = load_filled(MODELS[name]()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture
def on_gpu(monkeypatch):
    """Takes the CPU for a GPU from the call on."""

    def switch():
        monkeypatch.setattr(fused, 'FUSED_DEVICES', ('cuda', 'cpu'))
        monkeypatch.setattr(fused, 'triton_unavailable_reason', lambda device: None)

    return switch


@pytest.mark.parametrize('name', MODELS)
def test_fused_evaluation_computes_the_same(name, on_gpu):
    model = build(name)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        want = model(image)
    on_gpu()
    with torch.no_grad(), OperatorLog() as log:
        got = model(image)
    used = {x.name for x in log.operators}
    assert used & {'add_norm', 'convolve_silu', 'gate_channels', 'gated_scan'} or name in (
        'vit',
        'mila',
    )
    for i, (x, y) in enumerate(zip(got, want, strict=True)):
        assert x.dtype == y.dtype
        assert_close(x, y, f'{name} {i}', tolerance=1e-5)


@pytest.mark.parametrize('name', MODELS)
def test_under_autocast_it_errs_no_more_than_plain_operators(name, on_gpu):
    model = build(name)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        want = model(image)
        with torch.autocast('cpu', torch.bfloat16):
            plain = model(image)
    on_gpu()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        got = model(image)
    for x, y, z in zip(got, plain, want, strict=True):
        assert_half_close(x.to(y.dtype), y, z, name)


class Doubled(nn.Module):
    """Keeps what it computes of its weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.runs = 0

    def forward(self):
        return kept_of_weights(self, 'double', self.double, self.weight)

    def double(self, weight):
        self.runs += 1
        return 2 * weight


@pytest.fixture
def kept(on_gpu):
    """A module that keeps its result already."""
    on_gpu()
    module = Doubled()
    with torch.no_grad():
        assert module().tolist() == module().tolist() == [2, 2]
        assert module.runs == 1
        yield module


CHANGES = {
    'in place': lambda m: m.weight.add_(1),
    'by a state dict': lambda m: m.load_state_dict({'weight': torch.full((2,), 2.0)}),
    'by an optimizer': lambda m: torch.optim.SGD(with_gradient(m).parameters(), lr=1.0).step(),
    'exchanged': lambda m: setattr(m, 'weight', nn.Parameter(torch.full((2,), 2.0))),
    'other memory': lambda m: setattr(m.weight, 'data', torch.full((2,), 2.0)),
}


def with_gradient(module):
    module.weight.grad = torch.full((2,), -1.0)
    return module


@pytest.mark.parametrize('change', CHANGES)
def test_changed_weights_are_noticed(kept, change):
    CHANGES[change](kept)
    assert kept().tolist() == [4, 4]


@pytest.mark.parametrize('way', ['eval', 'train', 'to', 'forget'])
def test_a_backbone_forgets_what_no_counter_tells(on_gpu, way):
    on_gpu()
    model = build('plain_mamba')
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)
        model.layers[0].mamba.A_log.data.add_(1)
        ways = dict(eval=model.eval, train=model.train, forget=lambda: forget_weights(model))
        ways.get(way, lambda: model.to(torch.float64).to(torch.float32))()
        model.eval()
        assert not torch.equal(model(image)[-1], before[-1])


def test_nothing_is_kept_where_gradients_are_wanted_or_ranks_share_weights(kept, monkeypatch):
    with torch.enable_grad():
        assert kept().requires_grad
    assert kept.runs == 2
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    kept()
    assert kept.runs == 3


def test_nothing_is_kept_while_a_graph_is_captured(kept, monkeypatch):
    monkeypatch.setattr(tables, 'is_capturing', lambda: True)
    kept()
    assert kept.runs == 2


def test_a_graph_that_holds_what_was_kept_reads_it(kept, monkeypatch):
    monkeypatch.setattr(tables, 'is_capturing', lambda: True)
    with held_by_graph() as held:
        kept()
    assert kept.runs == 1
    assert len(held) == 1
    # Made while a graph is captured, it has no values before the graph has run: it is not kept.
    with torch.no_grad():
        kept.weight.add_(1)
    with held_by_graph():
        kept()
        kept()
    assert kept.runs == 3


def test_copies_and_files_begin_with_nothing_kept(kept):
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert not other.__dict__.get('_kept_of_weights')
        other.weight.data.add_(1)
        assert other().tolist() == [4, 4]


@pytest.mark.parametrize('is_of_all', [False, True])
def test_a_layer_with_a_hook_is_called(on_gpu, is_of_all):
    on_gpu()
    layer, seen = nn.Linear(2, 3), []
    register = register_module_forward_hook if is_of_all else layer.register_forward_hook
    handle = register(lambda *given: seen.append(given))
    with torch.no_grad():
        linear(layer, torch.ones(1, 2))
    handle.remove()
    assert len(seen) == 1


def test_the_cpu_calls_its_layers_as_they_are():
    layer = nn.Linear(2, 3)
    layer.forward = lambda x: x
    x = torch.ones(1, 2)
    with torch.no_grad():
        assert linear(layer, x) is x

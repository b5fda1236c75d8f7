"""The ONNX graph of a program: small, and exact where operators were exchanged."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mmvmamba
from mmvmamba.deploy import FORMATS, export
from mmvmamba.deploy.onnx_graph import to_onnx

IGNORED = pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')


@pytest.fixture(autouse=True)
def packages():
    for package in FORMATS['onnx'].packages:
        pytest.importorskip(package, reason='needs the extra export')


class Reshaped(nn.Module):
    def forward(self, images):
        twice = images.unsqueeze(0).unsqueeze(3).reshape(6, 4)
        return (F.softplus(twice), twice.reshape(2, 12).reshape(6, 4) + 1)


@pytest.mark.slow
@IGNORED
def test_reshapes_are_joined_and_softplus_is_exact():
    import onnx_ir
    import onnxruntime

    images = torch.tensor([-1e4, -90, -20, -1, 0, 1e-3, 1, 19.9, 20.1, 90, 1e4, 7]).repeat(2)
    images = images.view(2, 3, 4)
    model = to_onnx(torch.export.export(Reshaped(), (images,)), ['softplus', 'shifted'])
    counts = Counter(node.op_type for node in model.graph)
    assert counts['Reshape'] == 1 and not counts['Unsqueeze'] and not counts['Softplus']
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    found = session.run(None, {'images': images.numpy()})
    for got, want in zip(found, Reshaped()(images), strict=True):
        torch.testing.assert_close(torch.from_numpy(got), want, rtol=1e-6, atol=1e-7)


class Mixed(nn.Module):
    """What rows of tokens go through in a mixer, and a norm by the root of a mean."""

    def forward(self, images):
        tokens = images.flatten(2)  # (2, 3, 8)
        weight = torch.arange(12.0).view(3, 1, 1, 4)
        forth, back = (
            F.conv2d(tokens[:, :, None], taps, padding=(0, 3), groups=3)
            for taps in (weight, weight.flip(-1))
        )
        first, last = forth[..., :8], back[..., 3:]
        stacked = torch.stack([x.squeeze(2).transpose(1, 2) for x in (first, last)])
        strided = F.conv1d(tokens, weight[:, :, 0], padding=3, stride=2, groups=3)[..., :4]
        return stacked * torch.rsqrt(stacked.square().mean(-1, keepdim=True) + 1), strided


@pytest.mark.slow
@IGNORED
def test_what_is_cut_off_is_not_computed_and_axes_move_at_once():
    import onnx_ir
    import onnxruntime

    images = torch.randn(2, 3, 2, 4)
    model = to_onnx(torch.export.export(Mixed(), (images,)), ['stacked', 'strided'])
    counts = Counter(node.op_type for node in model.graph)
    # That of a convolution in larger steps stays.
    assert counts['Conv'] == 3 and counts['Slice'] == 1
    assert counts['Transpose'] == 2 and not counts['Squeeze'] and not counts['Reciprocal']
    pads = [x.attributes.get_ints('pads') for x in model.graph if x.op_type == 'Conv']
    assert sorted(pads) == [(0, 0, 0, 3), (0, 3, 0, 0), (3, 3)]
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    found = session.run(None, {'images': images.numpy()})
    for got, want in zip(found, Mixed()(images), strict=True):
        torch.testing.assert_close(torch.from_numpy(got), want, rtol=1e-5, atol=1e-5)


@pytest.mark.full
@IGNORED
@pytest.mark.parametrize('name', ['vim_tiny', 'plain_mamba_l1'])
def test_large_models_have_below_3000_nodes(name, tmp_path):
    import onnx

    made = export(mmvmamba.get_model(name), tmp_path / 'model.onnx')
    assert made.error < 1e-4
    nodes = len(onnx.load(made.path).graph.node)
    assert nodes < 3000

"""Each family on the GPU against the same on the CPU: needs a CUDA or ROCm device."""

import pytest
import torch

from mmvmamba.testing import assert_close
from tests.gpu.devices import GPU
from tests.models.test_backbone_contract import NAMES, build

pytestmark = list(GPU)
each_backbone = pytest.mark.parametrize('name', NAMES)
# Sums of float32 in another order, block after block.
TOLERANCE = 1e-3


@pytest.fixture(autouse=True)
def whole_float32(monkeypatch):
    """No TensorFloat-32, whose products and convolutions keep ten bits."""
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


def maps_and_gradients(model, image):
    """Maps of a training's forward pass, and the gradients of all weights."""
    maps = model(image)
    weights = {name: x for name, x in model.named_parameters() if x.requires_grad}
    loss = sum((x.float() ** 2).mean() for x in maps)
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return maps, dict(zip(weights, gradients, strict=True))


@each_backbone
def test_maps_of_evaluation_are_those_of_the_cpu(name):
    model, image = build(name).eval(), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = model(image)
        actual = model.cuda()(image.cuda())
    for number, (got, want) in enumerate(zip(actual, expected, strict=True)):
        assert_close(got.cpu(), want, f'map {number}', TOLERANCE)


@each_backbone
def test_gradients_are_those_of_the_cpu(name):
    # In evaluation, so that nothing is dropped at random; gradients take the way of a training.
    model, image = build(name).eval(), torch.randn(2, 3, 64, 96)
    expected, wanted = maps_and_gradients(model, image)
    actual, found = maps_and_gradients(model.cuda(), image.cuda())
    for number, (got, want) in enumerate(zip(actual, expected, strict=True)):
        assert_close(got.detach().cpu(), want.detach(), f'map {number}', TOLERANCE)
    largest = max(x.abs().max() for x in wanted.values() if x is not None)
    for weight, want in wanted.items():
        # Where a sample lies on a pixel, this gradient jumps: a last bit decides.
        if 'sampling_offsets' in weight:
            continue
        assert (want is None) == (found[weight] is None), weight
        if want is not None:
            # Gradients that cancel to almost nothing are sums of large ones.
            error = (found[weight].cpu() - want).abs().max()
            assert error <= TOLERANCE * max(want.abs().max(), 1e-2 * largest), weight


@each_backbone
def test_a_step_under_autocast_gives_finite_gradients(name):
    model, image = build(name).train().cuda(), torch.randn(2, 3, 64, 96, device='cuda')
    with torch.autocast('cuda', torch.bfloat16):
        maps = model(image)
        loss = sum((x.float() ** 2).mean() for x in maps)
    loss.backward()
    gradients = [x.grad for x in model.parameters() if x.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(x).all()) for x in gradients)

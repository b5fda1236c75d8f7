"""CUDA graphs of the forward pass of each family: needs a CUDA or ROCm device."""

import pytest
import torch

from mmvmamba import graphed
from mmvmamba.testing import assert_close
from tests.gpu.devices import GPU
from tests.models.test_backbone_contract import NAMES, build

pytestmark = list(GPU)


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_a_graph_of_the_forward_pass_computes_the_same(name, autocast):
    model = build(name).eval().cuda()
    image, other = torch.randn(2, 2, 3, 64, 96, device='cuda')

    def run(x):
        amp = torch.autocast('cuda', torch.bfloat16, enabled=autocast, cache_enabled=False)
        with torch.no_grad(), amp:
            return model(x)

    warm = torch.cuda.Stream()
    with torch.cuda.stream(warm):
        for _ in range(3):
            run(image)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run(image)
    for x in (image.clone(), other):
        image.copy_(x)
        graph.replay()
        for got, want in zip(outputs, run(image), strict=True):
            torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)


def test_a_graph_follows_weights_that_are_changed_in_place():
    model = build('PlainMamba').eval().cuda()
    image = torch.randn(1, 3, 64, 64, device='cuda')
    with torch.no_grad():
        model(image)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = model(image)
        for weight in model.parameters():
            weight.mul_(1.1)
        graph.replay()
        torch.testing.assert_close(outputs[-1], model(image)[-1], rtol=1e-3, atol=1e-3)


def evaluate(run, image, dtype=torch.bfloat16):
    with torch.inference_mode(), torch.autocast('cuda', dtype):
        return run(image)[-1]


@pytest.mark.parametrize('name', NAMES)
def test_a_graphed_model_computes_the_same(name):
    model = build(name).eval().cuda()
    replayed = graphed(model)
    for image in torch.randn(3, 2, 3, 64, 96, device='cuda'):
        assert_close(evaluate(replayed, image), evaluate(model, image), name, 2e-2)
    assert len(replayed._graphs) == 1


def test_a_graphed_model_serves_shapes_and_precisions_in_turns_and_follows_its_weights():
    model = build('VisionMamba').eval().cuda()
    replayed = graphed(model, most=2)
    images = [torch.randn(batch, 3, 64, 64, device='cuda') for batch in (1, 2, 3)]
    for _ in range(2):
        for image in images:
            for dtype in (torch.bfloat16, torch.float16):
                want = evaluate(model, image, dtype)
                assert_close(evaluate(replayed, image, dtype), want, str(image.shape), 2e-2)
    assert len(replayed._graphs) == 2
    with torch.no_grad():
        before = evaluate(replayed, images[0])
        for weight in model.parameters():
            weight.mul_(1.1)
    after = evaluate(replayed, images[0])
    assert_close(after, evaluate(model, images[0]), 'changed weights', 2e-2)
    assert not torch.allclose(before, after, rtol=1e-2)


def test_a_graphed_model_hands_out_memory_of_its_own():
    replayed = graphed(build('MambaOut').eval().cuda())
    first = evaluate(replayed, torch.zeros(1, 3, 64, 64, device='cuda'))
    copy = first.clone()
    evaluate(replayed, torch.randn(1, 3, 64, 64, device='cuda'))
    assert torch.equal(first, copy)

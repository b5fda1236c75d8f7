import pytest
import torch

from mmvmamba.fake_gpu import fake_gpu
from mmvmamba.layers.aligned_projection import aligned_weight, project_parts, split_aligned
from mmvmamba.testing import assert_close
from tests.versions import needs_fake_gpu


@pytest.mark.parametrize('sizes', [(12, 16, 16), (20, 8, 8), (16, 16, 16)], ids=str)
def test_aligned_parts_are_the_same_numbers_and_gradients(sizes):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    linear = torch.nn.Linear(6, sum(sizes), bias=False, dtype=torch.float64)
    weight = linear.weight
    plain = project_parts(x, linear, sizes)
    aligned = split_aligned(torch.nn.functional.linear(x, aligned_weight(weight, sizes)), sizes)
    for a, b in zip(aligned, plain, strict=True):
        assert_close(a, b, 'part')
    results = [
        torch.autograd.grad(sum((part**2).sum() for part in parts), (x, weight))
        for parts in (aligned, plain)
    ]
    for a, b in zip(*results, strict=True):
        assert_close(a, b, 'gradient')


@needs_fake_gpu
def test_parts_of_a_gpu_begin_where_vectors_do():
    with fake_gpu():
        x = torch.empty(2, 5, 6, device='cuda', dtype=torch.bfloat16)
        linear = torch.nn.Linear(6, 44, bias=False, device='cuda', dtype=torch.bfloat16)
        _, B, C = project_parts(x, linear, (12, 16, 16))
    for part in (B, C):
        assert part.stride()[:2] == (240, 48)
        assert part.storage_offset() * part.element_size() % 16 == 0

"""What decides by sizes or precisions is one call of a symbolic trace."""

import torch
from torch import nn

from mmvmamba.ops.scan_order import cross_orders
from mmvmamba.ops.symbolic import at_least_float32, is_symbolic, one_call


@one_call
def halved(x, largest):
    return x / 2 if x.shape[0] > largest else x


class Network(nn.Module):
    def forward(self, x):
        assert is_symbolic(x) == (not isinstance(x, torch.Tensor))
        orders = cross_orders(x.shape[0], x.shape[1], x.device)
        return halved(at_least_float32(x), 3).flatten()[orders]


def test_functions_are_one_call_each_and_decide_when_they_run():
    traced = torch.fx.symbolic_trace(Network())
    called = [node.target for node in traced.graph.nodes if node.op == 'call_function']
    assert {halved, at_least_float32, cross_orders} <= set(called)
    for shape, dtype in (((2, 3), torch.float16), ((5, 2), torch.float64)):
        x = torch.randn(shape).to(dtype)
        assert traced(x).equal(Network()(x))
        assert traced(x).dtype == (torch.float32 if dtype == torch.float16 else dtype)


def test_with_tensors_they_are_the_functions_that_they_were():
    x = torch.ones(5, 1)
    assert halved(x, largest=3).equal(x / 2) and halved(x=x, largest=9) is x
    assert halved.__name__ == 'halved'

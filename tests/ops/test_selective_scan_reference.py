"""The definition of right is itself checked: by hand, by numerical gradients, by symmetry."""

import math

import pytest
import torch

from mmvmamba.ops.selective_scan import selective_scan_ref
from tests.ops.scan_inputs import make_scan_inputs, reference_scan


def test_two_steps_by_hand():
    u = torch.tensor([3.0, 5.0]).view(1, 1, 2, 1)
    delta = torch.tensor([0.5, 0.25]).view(1, 1, 2, 1)
    A = torch.tensor([-1.0, -2.0]).view(1, 1, 2)
    B = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 1, 2)
    C = torch.tensor([[1.0, -1.0], [0.5, 2.0]]).view(1, 1, 2, 1, 2)
    D = torch.tensor([[10.0]])
    out, last_state = selective_scan_ref(u, delta, A, B, C, D)
    # h[0] = 0.5 * 3 * (1, 2) = (1.5, 3); y[0] = 1.5 - 3 + 30.
    # h[1] = (exp(-0.25) * 1.5, exp(-0.5) * 3) + 0.25 * 5 * (3, 4); y[1] = C . h[1] + 50.
    h = (1.5 * math.exp(-0.25) + 3.75, 3 * math.exp(-0.5) + 5)
    torch.testing.assert_close(out.flatten(), torch.tensor([28.5, 0.5 * h[0] + 2 * h[1] + 50]))
    torch.testing.assert_close(last_state.flatten(), torch.tensor(h))


def test_bias_and_softplus_act_on_the_step_size():
    inputs = make_scan_inputs(1, 5, 3, 2, without=('z',), dtype=torch.float64)
    got, _ = reference_scan(**inputs, delta_softplus=True)
    bias = inputs.pop('delta_bias')
    inputs['delta'] = torch.log1p(torch.exp(inputs['delta'] + bias))
    torch.testing.assert_close(got, reference_scan(**inputs)[0])


def test_reversed_order_is_a_scan_of_the_flipped_sequence():
    inputs = make_scan_inputs(2, 7, 3, 2, without=('z',), dtype=torch.float64)
    expected, _ = reference_scan(**{
        name: x.flip(1) if x.ndim == 3 else x for name, x in inputs.items()
    })  # fmt: skip
    got, _ = reference_scan(**inputs, orders=torch.arange(6, -1, -1)[None])
    torch.testing.assert_close(got, expected.flip(1))


def test_only_the_input_follows_the_order_on_request():
    inputs = make_scan_inputs(2, 7, 3, 2, without=('z',), dtype=torch.float64)
    order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
    expected, _ = reference_scan(**{**inputs, 'u': inputs['u'][:, order]})
    got, _ = reference_scan(**inputs, orders=order[None], order_all=False)
    torch.testing.assert_close(got[:, order], expected)


def test_directions_add_up():
    inputs = make_scan_inputs(2, 6, 4, 3, directions=2, without=('z',), dtype=torch.float64)
    orders = inputs.pop('orders')
    total = 0
    for k in range(2):
        one = {
            name: x[k : k + 1] if name in ('A', 'D', 'delta_bias') else x[:, k : k + 1]
            for name, x in inputs.items()
        }
        total = total + reference_scan(**one, orders=orders[k : k + 1])[0]
    torch.testing.assert_close(reference_scan(**inputs, orders=orders)[0], total)


@pytest.mark.parametrize('order_all', [True, False])
def test_gradients_are_those_of_the_numbers(order_all):
    inputs = make_scan_inputs(1, 4, 4, 2, directions=2, groups=2, dtype=torch.float64)
    orders = inputs.pop('orders')
    names = list(inputs)

    def scan(*values):
        return reference_scan(
            **dict(zip(names, values, strict=True)),
            orders=orders,
            order_all=order_all,
            delta_softplus=True,
        )

    assert torch.autograd.gradcheck(scan, [x.requires_grad_() for x in inputs.values()])

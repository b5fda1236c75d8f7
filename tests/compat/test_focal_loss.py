"""Sigmoid focal loss of mmcv, as mmcv calls the stand-in, against its formula entry by entry."""

import math

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss

pytestmark = pytest.mark.usefixtures('stand_ins')

CLASSES = 4


def make_inputs(dtype=torch.float64):
    logits = torch.randn(7, CLASSES, generator=torch.Generator().manual_seed(0), dtype=dtype)
    target = torch.tensor([0, 1, 2, 3, 4, 4, 1])  # 4 is background
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=dtype)
    return logits * 3, target, weight


def loss_by_loop(logits, target, gamma, alpha, weight):
    out = torch.zeros_like(logits)
    for row in range(len(logits)):
        label = int(target[row])
        for column in range(CLASSES):
            p = 1 / (1 + math.exp(-float(logits[row, column])))
            if column == label:
                value = -alpha * (1 - p) ** gamma * math.log(p)
            else:
                value = -(1 - alpha) * p**gamma * math.log(1 - p)
            if weight is not None and label < CLASSES:
                value *= float(weight[label])
            out[row, column] = value
    return out


@pytest.mark.parametrize('with_weight', [False, True])
@pytest.mark.parametrize('gamma', [0.0, 2.0, 1.5])
def test_loss_is_that_of_the_loop(gamma, with_weight):
    logits, target, weight = make_inputs()
    weight = weight if with_weight else None
    got = sigmoid_focal_loss(logits, target, gamma, 0.3, weight, 'none')
    torch.testing.assert_close(got, loss_by_loop(logits, target, gamma, 0.3, weight))


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('gamma', [0.0, 2.0, 1.5])
def test_gradient(gamma, reduction):
    logits, target, weight = make_inputs()
    if reduction == 'none':
        # mmcv's own backward takes one gradient for all entries.
        logits = logits[:1, :1]
        target, weight = target[:1], weight[:1]
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, target, gamma, 0.3, weight, reduction), (logits,)
    )


def test_large_logits_stay_finite():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1]), 2.0, 0.25, None, 'sum')
    loss.backward()
    # Both entries are wrong by 200: (0.75 + 0.25) * 200.
    torch.testing.assert_close(loss.detach(), torch.tensor(200.0))
    torch.testing.assert_close(logits.grad, torch.tensor([[0.75, -0.25]]))


def test_no_rows():
    logits = torch.zeros(0, CLASSES, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (0, CLASSES)

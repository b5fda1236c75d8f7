"""Sigmoid focal loss, https://arxiv.org/abs/1708.02002."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['sigmoid_focal_loss_backward', 'sigmoid_focal_loss_forward']


def _positives_and_scale(
    logits: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """Which entries are the target's class, and what each entry's loss is multiplied by."""
    classes = torch.arange(logits.size(1), device=logits.device)
    positive = target[:, None] == classes
    scale = torch.where(positive, alpha, 1 - alpha).to(logits.dtype)
    if weight.numel():
        # A background row, target == number of classes, has no entry in weight and keeps 1.
        row = torch.cat([weight.to(logits.dtype), weight.new_ones(1, dtype=logits.dtype)])
        scale = scale * row[target.clamp(max=logits.size(1))][:, None]
    return positive, scale


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with the loss of each entry.

    Args:
        input: (n, classes) logits.
        target: (n,) class of each row; the number of classes stands for background.
        weight: (classes,) factor by the row's class, or empty.
        output: (n, classes), written.
        gamma: exponent that plays down the easy entries.
        alpha: share of the positive entries.
    """
    logits = _at_least_float32(input)
    positive, scale = _positives_and_scale(logits, target, weight, alpha)
    # With the sign turned for positives both cases read: miss ** gamma * -log(1 - miss).
    signed = torch.where(positive, -logits, logits)
    output.copy_(torch.sigmoid(signed) ** gamma * F.softplus(signed) * scale)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` with the derivative of each entry's loss by its logit."""
    logits = _at_least_float32(input)
    positive, scale = _positives_and_scale(logits, target, weight, alpha)
    signed = torch.where(positive, -logits, logits)
    miss = torch.sigmoid(signed)
    slope = miss**gamma * (gamma * (1 - miss) * F.softplus(signed) + miss)
    grad_input.copy_(torch.where(positive, -slope, slope) * scale)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

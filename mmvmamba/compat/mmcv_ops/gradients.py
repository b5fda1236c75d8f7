"""Gradients of stand-ins that are written in plain, differentiable PyTorch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ['fill_gradients']


def fill_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    grad_output: Tensor,
    targets: Sequence[Tensor],
) -> None:
    """Computes the output again and writes each input's gradient into its target.

    Args:
        function: Takes the inputs.
        inputs: Those that a gradient is wanted of.
        grad_output: Of what the function returns.
        targets: Tensors of the inputs' shapes, written.
    """
    inputs = [x.detach().requires_grad_() for x in inputs]
    with torch.enable_grad():
        output = function(*inputs)
    # Without boxes nothing of the inputs is in the output.
    grads: Sequence[Tensor | None] = [None] * len(inputs)
    if output.requires_grad:
        grad_output = grad_output.to(output.dtype)
        grads = torch.autograd.grad(output, inputs, grad_output, allow_unused=True)
    for target, grad in zip(targets, grads, strict=True):
        target.zero_() if grad is None else target.copy_(grad)

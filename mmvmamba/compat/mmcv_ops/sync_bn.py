"""The arithmetic of mmcv's synchronised batch normalisation, 'MMSyncBN' in configs.

Inputs are (batch, channels, pixels), statistics in float32. mmcv sums up over the processes.
"""

from torch import Tensor

__all__ = [
    'sync_bn_backward_data',
    'sync_bn_backward_param',
    'sync_bn_forward_mean',
    'sync_bn_forward_output',
    'sync_bn_forward_var',
]


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Fills ``mean`` with the average of each channel."""
    mean.copy_(input.float().mean(dim=(0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Fills ``var`` with the average square of the distance to ``mean``, that of all processes."""
    var.copy_((input.float() - mean[:, None]).square().mean(dim=(0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Fills ``norm``, ``std`` and ``output``, and moves the running statistics on.

    Args:
        input: (batch, channels, pixels).
        mean: (channels,) of all processes.
        var: (channels,) of all processes.
        weight: (channels,).
        bias: (channels,).
        running_mean: (channels,), changed.
        running_var: (channels,), changed; takes the unbiased variance.
        norm: As ``input``, written: without weight and bias.
        std: (channels,), written.
        output: As ``input``, written.
        eps: Added to the variance.
        momentum: Share of the new statistics.
        group_size: Number of processes, each with a batch of this size.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    count = input.size(0) * input.size(2) * group_size
    unbiased = var * count / (count - 1) if count > 1 else var
    running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
    running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Fills the gradients of weight and bias, those of this process."""
    grad_weight.copy_((grad_output.float() * norm).sum(dim=(0, 2)))
    grad_bias.copy_(grad_output.float().sum(dim=(0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Fills ``grad_input``; the gradients of weight and bias are averages over the processes."""
    count = norm.size(0) * norm.size(2)
    shared = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((weight / std)[:, None] * (grad_output.float() - shared))

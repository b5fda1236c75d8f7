"""BatchNorm over the batches of all processes, on the CPU too."""

import torch
import torch.distributed as dist
from mmengine.model.utils import _BatchNormXd
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

__all__ = ['CPUSyncBatchNorm', 'sync_on_cpu']


class CPUSyncBatchNorm(_BatchNormXd):
    """BatchNorm whose mean and variance are those of the batches of all processes.

    torch's ``SyncBatchNorm`` refuses tensors on the CPU. Keys and arguments are those of
    ``BatchNorm2d``; inputs may have any number of dimensions from two on.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.float()
        # Two passes, for the difference of two large numbers would lose the variance.
        count = torch.tensor([x.numel() / x.shape[1]], device=x.device)
        sums = all_reduce(torch.cat([values.sum(dims), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = all_reduce(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach(), count)
        normed = (centred * (variance + self.eps).rsqrt().view(shape)).to(x.dtype)
        if self.weight is None:
            return normed
        return normed * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Has the running averages follow, with the unbiased variance as torch's do."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, float(weight))
        self.running_var.lerp_(variance * (count / (count - 1)), float(weight))


def sync_on_cpu(model: nn.Module, convert_all: bool = False) -> nn.Module:
    """Puts ``CPUSyncBatchNorm`` in the places of torch's ``SyncBatchNorm``.

    Args:
        model: The model, changed in place.
        convert_all: Whether every BatchNorm layer is synchronised, as ``sync_bn`` of a config asks.

    Returns:
        The model, or what takes its place if it is such a layer itself.
    """
    kinds = nn.modules.batchnorm._BatchNorm if convert_all else nn.SyncBatchNorm
    if isinstance(model, kinds) and not isinstance(model, CPUSyncBatchNorm):
        norm = CPUSyncBatchNorm(
            model.num_features, model.eps, model.momentum, model.affine, model.track_running_stats
        )
        norm.weight, norm.bias = model.weight, model.bias
        norm.running_mean, norm.running_var = model.running_mean, model.running_var
        norm.num_batches_tracked = model.num_batches_tracked
        norm.training = model.training
        return norm
    for name, child in model.named_children():
        setattr(model, name, sync_on_cpu(child, convert_all))
    return model

"""Tensors of which each process holds a part: parameters, gradients and states under FSDP."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ['local_part', 'part_like', 'shard_like', 'whole']


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, put together of the parts of all processes, which must call this alike."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, model: Tensor) -> Tensor:
    """This process's part of a whole tensor, distributed as another tensor is."""
    if not isinstance(model, DTensor) or isinstance(tensor, DTensor):
        return tensor
    # Every process has the whole, so that nothing is sent.
    return distribute_tensor(
        tensor.to(model.device), model.device_mesh, model.placements, src_data_rank=None
    )


def part_like(tensor: Tensor, model: Tensor) -> Tensor:
    """Takes what `local_part` gave for a part of a tensor that is distributed as another is."""
    if not isinstance(model, DTensor):
        return tensor
    return DTensor.from_local(
        tensor,
        model.device_mesh,
        model.placements,
        run_check=False,
        shape=model.shape,
        stride=model.stride(),
    )

"""``read_out`` by a compiled kernel, on the threads of torch, in float32."""

import numpy as np
import torch
from torch import Tensor

from mmvmamba.ops.cpu.compiled import load_kernels
from mmvmamba.ops.cpu.instruction_set import vector_lanes
from mmvmamba.ops.cpu.threads import run_on_team

__all__ = ['can_run', 'read_out_numba']


def can_run(states: Tensor) -> bool:
    """Whether the kernel takes states: on a CPU, with as many channels as fill its vectors."""
    return (
        type(states) is Tensor
        and states.device.type == 'cpu'
        and states.dtype == torch.float32
        and states.numel() > 0
        and states.shape[-1] % vector_lanes() == 0
    )


def read_out_numba(
    states: Tensor, taps: Tensor, C: Tensor, u: Tensor, D: Tensor, weight: Tensor, bias: Tensor,
    eps: float, gate: Tensor,
) -> Tensor:  # fmt: skip
    """As ``read_out``."""
    kernels = load_kernels(__package__)
    batch, height, _, channels = states.shape
    out = torch.empty_like(states, memory_format=torch.contiguous_format)
    flat = [
        x.detach().float().contiguous().view(-1).numpy()
        for x in (states, taps, C, u, D, weight, bias, gate)
    ]
    places = np.empty((torch.get_num_threads(), len(taps)), np.int64)
    run_on_team(
        *(kernels.read_out_kernel, kernels.read_out_in_parallel, batch * height, channels),
        *(tuple(states.shape), places, *flat, np.float32(eps), out.view(-1).numpy()),
    )
    return out
